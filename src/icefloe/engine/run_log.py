"""Records a run in the session's journal of runs, from its first stage to its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
    """

    def __init__(self, session: Session, stages: Sequence[Stage], summary: RunSummary) -> None:
        self._session, self._stages, self._summary = session, stages, summary
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
        if error is None:
            outcome = "finished"
        else:
            outcome = f"ended by {type(error).__name__}" if isinstance(error, Exception) else ""
            outcome = outcome or "stopped"
        with suppress(OutputError):  # a full disk must not hide what ended the run
            end_run(
                self._session.project,
                self._id,
                outcome,
                ran=self._summary.ran,
                failed=len(self._summary.failures),
            )

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
    content = settings_content(session.settings).get("data", {})
    found = {}
    for role in ("gain", "defects", "dose_file"):
        listed = content.get(role)
        if listed:
            identity = session.identity(listed)
            assert identity is not None
            found[role] = {"path": listed, "size": identity[0], "mtime_ns": identity[1]}
    return found


def _machine(device: str) -> dict[str, Any]:
    from icefloe.fourier import get_threads

    name = ""
    if device.startswith("cuda"):
        import torch

        name = torch.cuda.get_device_name(device)
    return describe_machine(device, name, get_threads())
