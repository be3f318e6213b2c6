"""Parsl's manager of workers, with queues that outlive a worker which is killed.

    python -m icefloe.engine.manager [ARGUMENT ...]

One manager runs on each node, in the place of Parsl's own program `process_worker_pool.py`, whose
arguments it takes.
"""

from __future__ import annotations

import runpy
import signal
import sys
from contextlib import suppress
from typing import Any

from icefloe.engine.file_lock import FileLock
from icefloe.engine.handover import Desk, Tray

__all__ = ["MODULE", "install", "main"]

MODULE = "parsl.executors.high_throughput.process_worker_pool"


def install() -> None:
    """Let Parsl's manager, in this process, hand its tasks over by a `Desk`.

    That also spares the helper process in which it keeps its table of tasks.
    """
    from parsl.executors.high_throughput import probe
    from parsl.multiprocessing import SpawnContext

    value, probe_addresses = SpawnContext.Value, probe.probe_addresses

    def nameless(*arguments: Any, **options: Any) -> Any:
        # It looks for the run under the name by which it connects afterwards. Where the run has not
        # noticed by then that the first connection ended, it takes no notice of the second one, and
        # the manager would wait for ever.
        return probe_addresses(*arguments, **options | {"identity": None})

    desk = Desk()

    def counter(kind: str, *arguments: Any) -> Any:
        return value(kind, *arguments, lock=FileLock())

    probe.probe_addresses = nameless
    SpawnContext.Manager = lambda: desk
    SpawnContext.Queue = lambda: Tray(desk)
    SpawnContext.Value = counter


def main(arguments: list[str]) -> None:
    """Run the manager."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # The job system ends it so, at once; what it is started by may have ways of its own.
        signal.signal(number, signal.SIG_DFL)
    with suppress(ImportError, AttributeError):  # another Parsl than the one that is known
        install()
    sys.argv = [MODULE, *arguments]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
