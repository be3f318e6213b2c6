"""Time and memory of a program run as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Linux counts the memory of the process that forks into the peak of the new program; so a small
# one stands between a benchmark, which holds images, and the program that it measures.
_LAUNCHER = """
import json, resource, subprocess, sys, time
begin = time.perf_counter()
done = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
wall = time.perf_counter() - begin
use = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as out:
    json.dump({
        "status": done.returncode, "message": done.stderr.decode(errors="replace")[-2000:],
        "wall": wall, "cpu": use.ru_utime + use.ru_stime, "memory": use.ru_maxrss * 1024 / 1e9,
    }, out)
"""


def measured(command: list[str], work: Path, threads: int) -> dict[str, float]:
    """Run a program in a directory; return its wall time and CPU time (s) and peak memory (GB)."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "use.json"
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(answer), *command]
        subprocess.run(launcher, cwd=work, env=environment, check=True)
        figures = json.loads(answer.read_text())
    message, status = figures.pop("message"), figures.pop("status")
    if status:
        raise RuntimeError(f"{command[0]} failed: {message}")
    return dict(figures)
