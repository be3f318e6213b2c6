"""Runs a session: what is stale, in which order, and what is recorded about it."""

from icefloe.engine.executor import Observer, RunSummary, run_session
from icefloe.engine.exposures import expand_inputs, register
from icefloe.engine.plan import Step, plan_exposure
from icefloe.engine.session import Session
from icefloe.engine.settings import DataSettings, OutputSettings, SessionSettings
from icefloe.engine.stage import Outcome, Output, Stage, Work

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
