"""Time and memory of a program run as a process of its own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path


def measured(command: list[str], work: Path, threads: int) -> dict[str, float]:
    """Run a program in a directory; return its wall time and CPU time (s) and peak memory (GB)."""
    environment = os.environ | {"OMP_NUM_threads": str(threads), "NUMBA_NUM_threads": str(threads)}
    begin = time.perf_counter()
    with subprocess.Popen(
        command, cwd=work, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        message = process.stderr.read()
        # wait4 gives this child's own use, where getrusage would give the largest of all.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {message.decode()[-2000:]}")
    return {
        "wall": time.perf_counter() - begin,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024 / 1e9,
    }
