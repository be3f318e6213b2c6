"""Ends a command cleanly when the system or a person asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

__all__ = ["StopRequest", "StoppedError", "ask_on_signals", "stop_on_signals"]

# What is being computed may be finished within this time; then it is rolled back, s.
_GRACE = 5.0
_AGAIN = 1.0


class StoppedError(KeyboardInterrupt):
    """The process was asked to end, by SIGTERM or because its terminal went away.

    Attributes
    ----------
    status
        The exit status that shells expect, 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
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


class StopRequest:
    """Whether somebody asked the run to end; call it to know."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Say whether it was asked."""
        return self.signal is not None


@contextmanager
def ask_on_signals(grace: float = _GRACE) -> Iterator[StopRequest]:
    """Turn signals into a request to stop while the block runs.

    The first asks; `grace` seconds later, or at a second one, `KeyboardInterrupt` is raised where
    the program is.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def asked(number: int, _: FrameType | None) -> None:
        if request.signal is not None:
            raise KeyboardInterrupt
        request.signal = number
        click.echo(f"Stopping ({signal.Signals(number).name}) ...", err=True)
        # Again and again: an exception is lost where compiled code called back into Python.
        signal.setitimer(signal.ITIMER_REAL, grace, _AGAIN)

    def late(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers = {signal.SIGINT: asked, signal.SIGTERM: asked, signal.SIGALRM: late}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield request
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
