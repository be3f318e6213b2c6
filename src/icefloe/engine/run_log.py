"""Records a run in the session's journal of runs, from its first stage to its end."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from icefloe import __version__
from icefloe.errors import OutputError
from icefloe.project.runs import begin_run, describe_machine, end_run

if TYPE_CHECKING:
    from icefloe.engine.executor import RunSummary
    from icefloe.engine.session import Session
    from icefloe.engine.stage import Stage

__all__ = ["RunLog", "settings_content"]


class RunLog:
    """The run's line in ``runs.jsonl``: written at the first stage that runs, closed at the end.

    A run that finds nothing to do leaves no line.

    Parameters
    ----------
    session
        The session.
    stages
        Its stages.
    summary
        Counts what the run does, for the line at its end.
    stop
        Says whether the run was asked to end; its attribute ``signal``, if it has one, by what.
    """

    def __init__(
        self,
        session: Session,
        stages: Sequence[Stage],
        summary: RunSummary,
        stop: Callable[[], bool] = bool,
    ) -> None:
        self._session, self._stages, self._summary = session, stages, summary
        self._stop = stop
        self._id = ""

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._id:
            return
        with suppress(OutputError):  # a full disk must not hide what ended the run
            end_run(
                self._session.project,
                self._id,
                self._outcome(error),
                ran=self._summary.ran,
                failed=len(self._summary.failures),
            )

    def _outcome(self, error: BaseException | None) -> str:
        if isinstance(error, Exception):
            return f"ended by {type(error).__name__}"
        number = getattr(self._stop, "signal", None)
        if number is None and isinstance(error, KeyboardInterrupt):
            # The command line's own says by which signal; Python's says nothing: Ctrl-C.
            number = getattr(error, "signal", signal.SIGINT)
        if number is not None:
            return f"stopped by {signal.Signals(number).name}"
        return "finished" if error is None and not self._stop() else "stopped"

    @property
    def id(self) -> str:
        """The run's id; the line is written when it is first asked for."""
        if not self._id:
            session = self._session
            self._id = begin_run(
                session.project,
                settings_content(session.settings),
                version=__version__,
                stages={stage.name: stage.version for stage in self._stages},
                inputs=_shared_inputs(session),
                machine=_machine(session.device),
            )
        return self._id


def settings_content(settings: object) -> dict[str, Any]:
    """Return settings, a pydantic model or a dataclass, as JSON-able dictionaries."""
    if isinstance(settings, BaseModel):
        return settings.model_dump(mode="json")
    return dataclasses.asdict(settings)  # type: ignore[call-overload, no-any-return]


def _shared_inputs(session: Session) -> dict[str, Any]:
    content = settings_content(session.settings)
    parts = [("", content.get("data", {}))]
    parts += [(f" of group {group['name']}", group) for group in content.get("group", ())]
    found = {}
    for owner, part in parts:
        for role in ("gain", "defects", "dose_file"):
            listed = part.get(role)
            if listed:
                identity = session.identity(listed)
                assert identity is not None
                entry = {"path": listed, "size": identity[0], "mtime_ns": identity[1]}
                found[f"{role}{owner}"] = entry
    return found


def _machine(device: str) -> dict[str, Any]:
    from icefloe.fourier import get_threads

    name = ""
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name(device)
    return describe_machine(device, name, get_threads())
