"""What happens during a live run in a test: each step when its condition holds, never by the time.

A run asks again and again whether it is to stop; that is when the script looks whether the next
step is due. How long it was quiet is told by a timer that only the script moves on, so that a run
which waits for the script never ends by itself, however slow the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from icefloe.engine import live_loop
from icefloe.engine.poller import Poller

__all__ = ["Script"]

_STUCK = 60.0  # s


class Script:
    """Steps of a test, taken one after the other; give `stop` and `timer` to `run_live`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._steps: list[tuple[Callable[[], bool], Callable[[], object]]] = []
        self._seconds = 0.0
        self._since = time.monotonic()
        self.poller: Poller | None = None

        def kept(*arguments: Any) -> Poller:
            self.poller = Poller(*arguments)
            return self.poller

        monkeypatch.setattr(live_loop, "Poller", kept)

    def when(self, condition: Callable[[], bool], action: Callable[[], object]) -> Script:
        """Add a step."""
        self._steps.append((condition, action))
        return self

    def quiet_when(self, condition: Callable[[], bool], seconds: float) -> Script:
        """Let time pass, as a step."""
        return self.when(condition, lambda: self.wait(seconds))

    def wait(self, seconds: float) -> None:
        """Move the timer on."""
        self._seconds += seconds

    def seen(self, name: str = "") -> bool:
        """Return whether a movie, or this one, was found that the run has not taken yet."""
        found = [] if self.poller is None else list(self.poller._found)
        return any(name in ("", arrival.path.stem) for arrival in found)

    def timer(self) -> float:
        """Return the seconds that passed, as far as the run knows."""
        return self._seconds

    def stop(self) -> bool:
        """Take the next step if it is due; never stop a run, but one that is stuck."""
        if self._steps and self._steps[0][0]():
            self._steps.pop(0)[1]()
            self._since = time.monotonic()
        assert time.monotonic() - self._since < _STUCK, f"{len(self._steps)} steps are left"
        return False

    def over(self) -> bool:
        """Return whether all steps were taken."""
        return not self._steps
