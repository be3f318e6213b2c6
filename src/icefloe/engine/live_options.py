"""How a live run watches, and who is told how it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from icefloe.engine.executor import Observer
from icefloe.engine.work_queue import Order

if TYPE_CHECKING:
    from icefloe.engine.alarms import AlarmEvent
    from icefloe.project.live_log import LiveEntry
    from icefloe.project.live_state import LiveState

__all__ = ["LiveObserver", "LiveOptions"]


@dataclass(frozen=True)
class LiveOptions:
    """How to watch.

    Attributes
    ----------
    patterns
        Files to watch for.
    order
        Which of those that wait comes first.
    poll_seconds
        Time between two looks.
    quiet_minutes
        End when no movie came for so long and all are done; None goes on for ever.
    """

    patterns: tuple[str, ...]
    order: Order = "newest"
    poll_seconds: float = 5.0
    quiet_minutes: float | None = None


class LiveObserver(Observer, Protocol):
    """Is told how a live run goes."""

    def watching(self, state: LiveState) -> None:
        """What waits has changed."""

    def logged(self, entry: LiveEntry) -> None:
        """An exposure was done; comes before `finished`."""

    def alarmed(self, event: AlarmEvent) -> None:
        """An alarm begins or ends."""
