"""`icefloe serve` in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(project: Path) -> Iterator[tuple[str, str]]:
    """Give the owner's and the guest's address."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "icefloe", "serve", "--project", str(project), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found: list[str] = []
        for line in process.stdout:
            found += re.findall(r"http://\S+", line)
            if len(found) == 2:
                break
        yield found[0], found[1]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
