"""What the executor asks of a stage, and what it gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from icefloe.engine.session import Session
    from icefloe.project.sidecar import FileIdentity

__all__ = ["Outcome", "Output", "Stage", "StopRunError", "Work"]

T = TypeVar("T")


@dataclass(frozen=True)
class Output:
    """One file that a stage wants written.

    Attributes
    ----------
    role
        What it is, for the sidecar.
    path
        Where it goes, relative to the session.
    write
        Writes it, whole or not at all, to the absolute path it is given.
    """

    role: str
    path: str
    write: Callable[[Path], object]


@dataclass(frozen=True)
class Outcome:
    """What a stage found about one exposure."""

    numbers: Mapping[str, Any]
    outputs: tuple[Output, ...] = ()
    flags: tuple[str, ...] = ()


@dataclass
class Work:
    """One exposure on its way through the stages; its arrays stay in memory between them.

    Attributes
    ----------
    session
        The session it belongs to.
    name
        Its name.
    source
        The movie or micrograph file.
    numbers
        By stage, what is known so far: from this run or from the sidecars.
    identity
        Which file that was before it was read; None if there was none.
    """

    session: Session
    name: str
    source: Path
    numbers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    identity: FileIdentity | None = None
    _values: dict[str, Any] = field(default_factory=dict)

    def keep(self, key: str, value: object) -> None:
        """Hand a value on to later stages."""
        self._values[key] = value

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of `key`, made at the first call; an error is raised at each again."""
        if key not in self._values:
            try:
                self._values[key] = make()
            except Exception as error:  # kept for the stage that needs it, in another thread
                self._values[key] = _Failed(error)
        value = self._values[key]
        if isinstance(value, _Failed):
            raise value.error
        return cast("T", value)

    def held(self, key: str) -> Any:
        """Return a value that is there already, else None."""
        value = self._values.get(key)
        return None if isinstance(value, _Failed) else value

    def drop(self, key: str) -> None:
        """Let go of a value that no later stage needs."""
        self._values.pop(key, None)


class StopRunError(Exception):
    """Raised by a stage, from its cause, to end the run: for what no exposure can do without."""


@dataclass(frozen=True)
class _Failed:
    error: Exception


class Stage(Protocol):
    """One step for one exposure: reads what it needs through `Work`, returns an `Outcome`.

    Attributes
    ----------
    name
        One of `icefloe.project.STAGES`.
    version
        Raised when the stage's result changes for the same input and settings.
    """

    name: str
    version: int

    def upstream(self, session: Session, kind: str) -> tuple[str, ...] | None:
        """Return the stages whose results it uses; None if it is not done for this kind."""

    def choices(self, session: Session) -> Mapping[str, Any]:
        """Return the settings and facts, JSON-able, that its result depends on."""

    def prefetch(self, work: Work) -> None:
        """Read what it will need; called in the reading thread, errors are met again in `run`."""

    def run(self, work: Work) -> Outcome:
        """Do the work; an exception is recorded as this exposure's failure."""
