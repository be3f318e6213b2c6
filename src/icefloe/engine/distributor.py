"""The process that gives out tasks to the managers of workers, when it dies.

Parsl starts it beside the run (its interchange) and does not notice when it is gone: tasks wait for
ever, and so does the thread which asks it for the state of the workers, and who waits for that.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.config import Config

__all__ = ["died", "dismiss"]

_ENOUGH = 12.0  # s
_WORKERS_END = 3.0  # s


def died(config: Config) -> bool:
    """Return whether a process that gives out the tasks of a running configuration is gone."""
    return any(_is_dead(executor) for executor in config.executors)


def dismiss(config: Config) -> None:
    """End workers and whatever else belongs to a configuration of which that process is gone.

    Parsl's own way would wait for that process for ever.
    """
    import parsl

    with suppress(Exception):
        kernel = parsl.dfk()
        cleaner = threading.Thread(target=_clean, args=(kernel, config), daemon=True)
        cleaner.start()
        cleaner.join(_ENOUGH)
    # Where that took too long: it must not hold up what follows, nor the end of the run.
    parsl.clear()


def _is_dead(executor: Any) -> bool:
    process = getattr(executor, "interchange_proc", None)
    return process is not None and process.poll() is not None


def _clean(kernel: Any, config: Config) -> None:
    import atexit

    import psutil

    atexit.unregister(kernel.atexit_cleanup)
    dead: list[Any] = [executor for executor in config.executors if _is_dead(executor)]
    for executor in dead:
        with suppress(Exception):  # of a task that ends at this moment
            executor.set_bad_state_and_fail_all(RuntimeError("Parsl's interchange was killed"))
        for pipe in (executor.command_client, executor.outgoing_q):
            # Whoever waits at its socket is woken up by an error; it ends when the socket closes.
            context, pipe.close = pipe.zmq_context, pipe.zmq_socket.close
            threading.Thread(target=context.term, daemon=True).start()
    kernel.job_status_poller.close()
    # Parsl leaves the jobs of one in a bad state. On this machine they are gone before anything is
    # given out again, so that no exposure is with two workers; elsewhere as soon as a job ends.
    here = [process for executor in dead for process in _managers_here(executor)]
    for executor in dead:
        known = executor.status_facade
        jobs = executor.blocks_to_job_id.items()
        running = [job for block, job in jobs if block not in known or not known[block].terminal]
        with suppress(Exception):
            executor.provider.cancel(running)
    for process in psutil.wait_procs(here, timeout=_WORKERS_END)[1]:
        with suppress(psutil.Error):
            process.kill()
    kernel.cleanup()


def _managers_here(executor: Any) -> list[Any]:
    """Return the managers of an executor's workers on this machine, and their workers."""
    import psutil

    found: list[Any] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if f"--logdir={executor.worker_logdir}" in process.cmdline():
                found += [process, *process.children(recursive=True)]
    return found
