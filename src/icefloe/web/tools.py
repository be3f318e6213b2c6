"""What the page's panels do beside looking: live facts, calculator, settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icefloe.engine.pick_settings import PickLimits
from icefloe.optics import CtfParameters, advise_box, ctf_1d, wavelength
from icefloe.project import Project
from icefloe.project.live_log import live_figures, read_entries
from icefloe.project.live_state import read_state
from icefloe.project.lock import is_locked
from icefloe.project.sidecar import plain_json

__all__ = ["CalculatorIn", "LimitsIn", "SettingsIn", "calculate", "change", "choose_picks"]
__all__ += ["live_facts", "settings_list"]

_POINTS = 512


def live_facts(project: Project) -> dict[str, Any]:
    """Return how a run keeps up: latency, rate, what it waits for, alarms."""
    state = read_state(project)
    running = is_locked(project)
    figures = live_figures(read_entries(project)) if state is not None else None
    found: dict[str, Any] = plain_json(
        {
            "running": running,
            "live": state is not None and state.running and running,
            "waiting": 0 if state is None else state.waiting,
            "paused": "" if state is None else state.paused,
            "alarms": {} if state is None else dict(state.alarms),
            "incomplete": {} if state is None else dict(state.incomplete),
            "figures": None if figures is None else asdict(figures),
        }
    )
    return found


class CalculatorIn(BaseModel):
    """What the calculator is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    diameter: float = Field(gt=0, le=1e5, description="Longest diameter of the particle, A.")
    defocus: float = Field(ge=-1e6, le=1e6, description="Largest defocus, A.")
    resolution: float = Field(gt=0.3, le=100, description="Aim, A.")
    voltage: float = Field(ge=10, le=3000, description="kV.")
    cs: float = Field(ge=-10, le=50, description="Spherical aberration, mm.")
    amplitude_contrast: float = Field(ge=0, le=1, description="A fraction.")
    pixel_size: float = Field(gt=0.05, le=100, description="Of the micrograph, A.")
    smallest: float = Field(default=0, ge=-1e6, le=1e6, description="Smallest defocus, A.")
    phase_shift: float = Field(default=0, ge=-360, le=360, description="Of a phase plate, degrees.")


def calculate(asked: CalculatorIn) -> dict[str, Any]:
    """Return box, delocalisation and the CTF at both defoci up to Nyquist."""
    pixel = asked.pixel_size
    advice = advise_box(asked.diameter, asked.defocus, asked.resolution, asked.voltage, pixel)
    optics = (0.0, asked.voltage, asked.cs, asked.amplitude_contrast, asked.phase_shift)
    k = np.linspace(0, 0.5 / asked.pixel_size, _POINTS)
    found: dict[str, Any] = plain_json(
        {
            "wavelength": wavelength(asked.voltage),
            "delocalisation": advice.delocalisation,
            "minimum": advice.minimum,
            "pixels": advice.pixels,
            "size": advice.size,
            "frequency": k.round(6),
            "ctf": ctf_1d(CtfParameters(asked.defocus, asked.defocus, *optics), k).round(5),
            "smallest": ctf_1d(CtfParameters(asked.smallest, asked.smallest, *optics), k).round(5),
        }
    )
    return found


class SettingsIn(BaseModel):
    """New values by section and key; a key within a part of a section is ``part.key``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    changes: Mapping[str, Mapping[str, Any]] = Field(max_length=40)
    save: bool = Field(description="Write them, or only say what they would make stale.")


def settings_list(project: Project) -> list[dict[str, Any]]:
    """Return every single setting with its value, default, description and type."""
    from icefloe.engine import Session

    settings = Session.open(project.root).settings
    rows: list[dict[str, Any]] = []
    values = settings.model_dump(mode="json")
    for section, field in type(settings).model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            _add_rows(rows, section, model, values[section], "")
    return rows


def _add_rows(
    rows: list[dict[str, Any]], section: str, model: type[BaseModel], values: Any, prefix: str
) -> None:
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            _add_rows(rows, section, inner, values[key], f"{prefix}{key}.")
            continue
        default = field.get_default(call_default_factory=True)
        rows.append(
            {
                "section": section,
                "key": prefix + key,
                "value": values[key],
                "default": plain_json(default) if not isinstance(default, BaseModel) else None,
                "about": _with_units(field.description or ""),
            }
        )


def _with_units(text: str) -> str:
    """Return a description with the sign of the angstrom, which settings files write as A."""
    text = text.replace("e/A^2", "e/Å²").replace("A^2", "Å²")
    return re.sub(r"(?<=, )A(?=[;,.:)]| \(|$)|(?<=\d )A\b", "Å", text)


def change(project: Project, asked: SettingsIn) -> dict[str, Any]:
    """Check new settings and name what they make stale; write them if that is asked for.

    Raises
    ------
    SettingsError
        One is unknown or out of range; nothing is written then.
    """
    from icefloe.engine import Session
    from icefloe.engine.overview import count_states
    from icefloe.engine.setup import change_settings, changed_settings

    session = Session.open(project.root)
    nested = {section: dict(entries) for section, entries in asked.changes.items()}
    settings = changed_settings(project, session.settings, nested)
    before = count_states(session)
    after = count_states(Session(project, settings, session.device))
    stale = {
        stage: after[stage]["stale"] - before.get(stage, {}).get("stale", 0)
        for stage in after
        if after[stage]["stale"] > before.get(stage, {}).get("stale", 0)
    }
    if asked.save:
        change_settings(project, session.settings, nested)
    return {"stale": stale, "saved": asked.save}


class LimitsIn(BaseModel):
    """Limits of the session's picks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: PickLimits
    save: bool = Field(description="Choose the picks, or only say what that would do.")


def choose_picks(project: Project, asked: LimitsIn) -> dict[str, Any]:
    """Choose the picks of the session by limits, or only say what that would do.

    Raises
    ------
    ProjectLockedError
        A run is at work.
    SettingsError, OutputError
    """
    from icefloe.curation.journal import add_limits
    from icefloe.engine import Session
    from icefloe.engine.pick_limits import choose_again

    found = choose_again(Session.open(project.root), asked.limits, save=asked.save)
    if asked.save:
        add_limits(project, asked.limits.model_dump())
    return {**asdict(found), "saved": asked.save}
