"""Ends a command cleanly when the system asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StoppedError", "stop_on_signals"]


class StoppedError(KeyboardInterrupt):
    """The process was asked to end, by SIGTERM or because its terminal went away.

    Attributes
    ----------
    signal
        The signal.
    status
        The exit status that shells expect, 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number
        self.status = 128 + number


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `StoppedError` in the block, as Ctrl-C does already.

    So what is half written is removed and the end of the run recorded; without it the process
    would end on the spot. A second signal does that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        # nohup has the second one ignored, and means it.
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise StoppedError(number)
