"""Runs a session: what is stale, in which order, and what is recorded about it."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.engine.executor import Observer, RunSummary, run_session
    from icefloe.engine.exposures import expand_inputs, register
    from icefloe.engine.plan import Step, plan_exposure
    from icefloe.engine.session import Session
    from icefloe.engine.settings import DataSettings, OutputSettings, SessionSettings
    from icefloe.engine.stage import Outcome, Output, Stage, Work
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "Observer": "executor",
            "RunSummary": "executor",
            "run_session": "executor",
            "expand_inputs": "exposures",
            "register": "exposures",
            "Step": "plan",
            "plan_exposure": "plan",
            "Session": "session",
            "DataSettings": "settings",
            "OutputSettings": "settings",
            "SessionSettings": "settings",
            "Outcome": "stage",
            "Output": "stage",
            "Stage": "stage",
            "Work": "stage",
        },
    )

__all__ = [
    "DataSettings",
    "Observer",
    "Outcome",
    "Output",
    "OutputSettings",
    "RunSummary",
    "Session",
    "SessionSettings",
    "Stage",
    "Step",
    "Work",
    "expand_inputs",
    "plan_exposure",
    "register",
    "run_session",
]
