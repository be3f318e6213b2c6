"""The facts that hold for one exposure: the settings, its group's, and what was recorded with it.

What a group of movies says goes before [data]; what neither says is taken from the metadata beside
the movie.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from icefloe.errors import SettingsError

if TYPE_CHECKING:
    from icefloe.engine.settings import DataSettings
    from icefloe.formats.acquisition import Acquisition

__all__ = ["GroupSettings", "compare_facts", "group_of", "resolve_facts"]

_DOSES = ("dose_per_frame", "total_dose", "dose_file")
# Gains that `icefloe.formats.gain` reads; SerialEM's own may be DM4.
_GAIN_TYPES = (".mrc", ".tif", ".tiff", ".gain")
# How far metadata may be from a setting before that is worth a warning, as a fraction.
_TOLERANCES = {"pixel_size": 0.02, "voltage": 0.01, "total_dose": 0.1}
_UNITS = {"pixel_size": "A", "voltage": "kV", "total_dose": "e/A^2"}


class GroupSettings(BaseModel):
    """Movies with facts of their own; what is not set here is as in [data]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="Its name.")
    files: str = Field(
        min_length=1,
        description="Pattern of the movies' paths, or of their ends: grid2/*.tiff. Of several "
        "groups that match a movie the first counts.",
    )
    pixel_size: float | None = Field(default=None, gt=0, le=100, description="A.")
    voltage: float | None = Field(default=None, gt=0, le=3000, description="kV.")
    dose_per_frame: float | None = Field(default=None, gt=0, description="e/A^2.")
    total_dose: float | None = Field(default=None, gt=0, description="e/A^2, instead.")
    gain: str | None = Field(default=None, description="Gain reference.")
    gain_rotate: Literal[0, 1, 2, 3] | None = Field(default=None, description="As in [data].")
    gain_flip: Literal[0, 1, 2] | None = Field(default=None, description="As in [data].")
    defects: str | None = Field(default=None, description="Defect list or map.")
    optics_group: str | None = Field(
        default=None, min_length=1, pattern=r"^\S+$", description="Name for RELION's optics table."
    )

    @model_validator(mode="after")
    def _one_dose(self) -> GroupSettings:
        if self.dose_per_frame is not None and self.total_dose is not None:
            raise SettingsError(
                f"group {self.name}: dose_per_frame ({self.dose_per_frame:g}) and total_dose "
                f"({self.total_dose:g}) are set",
                "one of them",
            )
        return self

    def overrides(self) -> dict[str, Any]:
        """Return what takes the place of the settings in [data]."""
        own = self.model_dump(exclude_none=True, exclude={"name", "files"})
        if any(key in own for key in _DOSES):
            own = {key: None for key in _DOSES if key not in own} | own
        if "gain" in own:
            # Another gain file is turned as it needs, not as the one of [data].
            own = {"gain_rotate": 0, "gain_flip": 0} | own
        return own


def group_of(groups: Sequence[GroupSettings], source: Path) -> GroupSettings | None:
    """Return the first group whose pattern a movie's path, or an end of it, matches."""
    text = source.as_posix()
    for group in groups:
        pattern = re.sub(r"\*\*+", "*", group.files.removeprefix("./"))  # * spans directories here
        if fnmatchcase(text, pattern) or fnmatchcase(text, f"*/{pattern}"):
            return group
    return None


def resolve_facts(
    data: DataSettings,
    groups: Sequence[GroupSettings],
    source: Path,
    acquisition: Acquisition | None,
) -> DataSettings:
    """Return the section [data] as it holds for one movie.

    Parameters
    ----------
    data
        The settings of the session.
    groups
        Groups of movies.
    source
        The movie.
    acquisition
        What was recorded with it.
    """
    change: dict[str, Any] = {}
    group = group_of(groups, source)
    if group is not None:
        change |= group.overrides()
    merged = data.model_dump() | change
    if acquisition is not None:
        change |= _missing(merged, source, acquisition)
    return data.model_copy(update=change) if change else data


def _missing(facts: dict[str, Any], source: Path, acquisition: Acquisition) -> dict[str, Any]:
    """Return what is not set, as the metadata have it."""
    found: dict[str, Any] = {}
    if facts["pixel_size"] is None and acquisition.pixel_size is not None:
        found["pixel_size"] = _as_read(facts, source, acquisition.pixel_size)
    if acquisition.dose is not None and all(facts[key] is None for key in _DOSES):
        found["total_dose"] = acquisition.dose
    # As recorded, even if they are gone since: that they are missing must be noticed.
    gain = acquisition.gain_file
    if facts["gain"] is None and gain and Path(gain).suffix.lower() in _GAIN_TYPES:
        found["gain"] = gain
    if facts["defects"] is None and acquisition.defects_file:
        found["defects"] = acquisition.defects_file
    return found


def _as_read(facts: dict[str, Any], source: Path, pixel_size: float) -> float:
    """Return the pixel size of the grid on which a movie is read."""
    if source.suffix.lower() == ".eer":
        return pixel_size / float(facts["eer_upsampling"])
    return pixel_size


def compare_facts(
    data: DataSettings, source: Path, acquisition: Acquisition, n_frames: int | None
) -> dict[str, str]:
    """Return by setting how the metadata of a movie contradict it, with both numbers.

    Parameters
    ----------
    data
        The settings as they hold for this movie.
    source
        The movie.
    acquisition
        What was recorded with it.
    n_frames
        Its number of frames, where that is known; else a dose per frame is not compared.
    """
    facts = data.model_dump()
    dose = data.total_dose
    if dose is None and data.dose_per_frame is not None and n_frames:
        dose = data.dose_per_frame * n_frames
    recorded = acquisition.pixel_size
    pairs = {
        "pixel_size": (data.pixel_size, recorded and _as_read(facts, source, recorded)),
        "voltage": (data.voltage, acquisition.voltage),
        "total_dose": (dose, acquisition.dose),
    }
    found = {}
    for key, (ours, theirs) in pairs.items():
        if ours is None or theirs is None or abs(ours / theirs - 1) <= _TOLERANCES[key]:
            continue
        what = "the dose of a movie" if key == "total_dose" else f"data.{key}"
        found[key] = (
            f"{what} is {ours:.4g} {_UNITS[key]}, {acquisition.program} recorded {theirs:.4g} "
            f"{_UNITS[key]} for {source.name}"
        )
    if data.gain is not None and acquisition.gain is not None:
        names = [Path(data.gain).name, acquisition.gain]
        if len({name.split(".")[0].lower() for name in names}) > 1:
            found["gain"] = (
                f"data.gain is {names[0]}, {acquisition.program} recorded {names[1]} for "
                f"{source.name}"
            )
    return found
