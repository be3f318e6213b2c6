"""Ctrl-C and SIGTERM end a live run in an orderly way, within seconds."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

__all__ = ["StopRequest", "requests_to_stop"]

# What is being computed may be finished within this time; then it is rolled back, s.
_GRACE = 5.0
_AGAIN = 1.0


class StopRequest:
    """Whether somebody asked the run to end; call it to know."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Say whether it was asked."""
        return self.signal is not None


@contextmanager
def requests_to_stop(grace: float = _GRACE) -> Iterator[StopRequest]:
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
