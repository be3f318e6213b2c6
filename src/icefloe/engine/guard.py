"""Runs a program of Parsl's, and ends it when the run that needs it is gone.

    python -m icefloe.engine.guard PID MODULE [ARGUMENT ...]

A run that is killed cannot tell its helpers to stop. Parsl's interchange would go on to hand out
the tasks that are left, while a new run of the same session starts; and a manager of workers that
was waiting for the interchange's first answer would wait for ever. So each looks itself whether the
run still lives.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["end_with_parent", "guarded", "main"]

_PERIOD = 0.5


def guarded(module: str) -> list[str]:
    """Return the command that runs a module for as long as this process lives."""
    return [sys.executable, "-m", "icefloe.engine.guard", str(os.getpid()), module]


@cache
def end_with_parent() -> None:
    """End this process, whatever it does, when its parent is gone; asked for once is enough."""
    pid = os.getppid()
    threading.Thread(target=_end_with, args=(pid, _birth(pid)), daemon=True).start()


def main(arguments: list[str]) -> None:
    """Watch the process, and run the module with what is left of the arguments."""
    pid, module = int(arguments[0]), arguments[1]
    if module.endswith(".interchange"):
        _end_only_by(pid)
    threading.Thread(target=_end_with, args=(pid, _birth(pid)), daemon=True).start()
    sys.argv = arguments[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_only_by(pid: int) -> None:
    """Let nobody but the run end this process by SIGTERM, and nobody by Ctrl-C or a lost terminal.

    A terminal, `timeout` and job systems signal all processes of a run at once. The run needs the
    interchange to dismiss its workers; where that was gone, the run waited for it for ever.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        # In all threads, which are started after this.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_wait_for_end, args=(pid,), daemon=True).start()


def _wait_for_end(pid: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != pid:
        pass
    os._exit(0)


def _end_with(pid: int, birth: str) -> None:
    while _birth(pid) == birth and _lives(pid):
        time.sleep(_PERIOD)
    with suppress(ImportError):
        import psutil

        # A manager's helpers do not look after themselves.
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    os._exit(0)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _birth(pid: int) -> str:
    """Return when a process was started, where the system tells: numbers are given out again."""
    with suppress(OSError):
        # After the name in brackets, which may hold anything; the state of a dead process is Z.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "dead" if fields[0] == "Z" else fields[19]
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
