"""Parsl's interchange, which ends when the run that started it is gone.

A run that is killed cannot tell its interchange to stop: the interchange would hand the tasks that
are left to the workers, while a new run of the same session starts. The system gives an orphan
another parent, and that is looked for here. Without the interchange the workers end themselves
after a few missed heartbeats.
"""

from __future__ import annotations

import os
import runpy
import threading
import time

__all__ = ["main"]

_PERIOD = 0.5


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PERIOD)
    os._exit(0)


def main() -> None:
    """Watch the parent and run the interchange; its configuration comes from standard input."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


if __name__ == "__main__":
    main()
