"""Every setting of a session: facts about the data, what to write, and each stage's choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from icefloe.ctf.settings import CtfSettings
from icefloe.engine.alarms import AlarmSettings
from icefloe.engine.facts import GroupSettings
from icefloe.engine.pick_settings import PickSettings, migrated_pick
from icefloe.errors import SettingsError
from icefloe.extraction.settings import ExtractSettings
from icefloe.motion.settings import MotionSettings

__all__ = ["DataSettings", "OutputSettings", "SessionSettings"]


class DataSettings(BaseModel):
    """Facts about the microscope, the camera and the exposures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Pixel size of the input, A; not set: the file's header.",
    )
    voltage: float = Field(default=300.0, gt=0, le=3000, description="Acceleration voltage, kV.")
    cs: float = Field(default=2.7, ge=-20, le=20, description="Spherical aberration, mm.")
    amplitude_contrast: float = Field(
        default=0.1, ge=0, le=1, description="Amplitude contrast, a fraction (usually 0.07 to 0.1)."
    )
    dose_per_frame: float | None = Field(
        default=None,
        gt=0,
        description="Dose of one movie frame, e/A^2; of one fraction for EER. Either this or "
        "total_dose is needed for movies.",
    )
    total_dose: float | None = Field(
        default=None, gt=0, description="Dose of a whole movie, e/A^2, in place of dose_per_frame."
    )
    dose_file: str | None = Field(
        default=None,
        description="Doses of the frames, e/A^2, where they differ, in place of dose_per_frame: "
        "text with one a line, or SerialEM's .mdoc; relative to this session's directory.",
    )
    gain: str | None = Field(
        default=None,
        description="Gain reference; relative to this session's directory unless absolute.",
    )
    gain_rotate: Literal[0, 1, 2, 3] = Field(
        default=0, description="Turns of the gain by 90 degrees, as RELION's gain_rot."
    )
    gain_flip: Literal[0, 1, 2] = Field(
        default=0,
        description="Flip after turning: 0 none, 1 up-down, 2 left-right; RELION's gain_flip.",
    )
    defects: str | None = Field(
        default=None, description="Defect list or map; relative to this session's directory."
    )
    eer_upsampling: Literal[1, 2, 4] = Field(
        default=1, description="Grid of EER movies: 1 for 4K, 2 for 8K, 4 for 16K pixels."
    )
    eer_frames_per_fraction: int | None = Field(
        default=None, ge=1, description="Raw EER frames that are summed to one fraction."
    )
    eer_dose_per_fraction: float | None = Field(
        None,
        gt=0,
        description="Dose of an EER fraction, e/A^2, in place of eer_frames_per_fraction; needs "
        "total_dose.",
    )
    optics_group: str = Field(
        default="opticsGroup1",
        min_length=1,
        pattern=r"^\S+$",
        description="Name for RELION's optics table.",
    )
    shift_tolerance: float | None = Field(
        default=None,
        gt=0,
        description="Movies whose beam shifts are nearer than this, in the unit of their metadata, "
        "share an optics group; not set: found from the shifts themselves.",
    )

    @model_validator(mode="after")
    def _one_dose(self) -> DataSettings:
        doses = {
            "dose_per_frame": self.dose_per_frame,
            "total_dose": self.total_dose,
            "dose_file": self.dose_file,
        }
        given = [f"{name} ({value})" for name, value in doses.items() if value is not None]
        if len(given) > 1:
            raise SettingsError(
                f"{' and '.join(given)} are set", "one of them", 'Set the others to ""'
            )
        if self.eer_dose_per_fraction is not None:
            if self.eer_frames_per_fraction is not None:
                raise SettingsError(
                    "Both eer_frames_per_fraction and eer_dose_per_fraction are set", "one of them"
                )
            if self.total_dose is None:
                raise SettingsError(
                    f"eer_dose_per_fraction is {self.eer_dose_per_fraction:g} and total_dose is "
                    "not set",
                    "the dose of the whole movie, from which the number of camera frames follows",
                )
        return self


class OutputSettings(BaseModel):
    """Which files are written, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    float16: bool = Field(
        default=False,
        description="Write micrographs and particles as 16-bit floats (MRC mode 12): half the "
        "space, read by RELION 4 and later.",
    )
    unweighted: bool = Field(
        default=True, description="Also write the micrograph without dose weighting, NAME_noDW.mrc."
    )
    min_free_gb: float = Field(
        default=1.0,
        ge=0,
        description="Space that stays free on the session's disk, GB: a run ends before it is used "
        "up, a live run waits until there is space; 0 does not look.",
    )


class SessionSettings(BaseModel):
    """Every setting of a session, one section a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # 2: picking has a method, and a section for each.
    SCHEMA: ClassVar[int] = 2

    data: DataSettings = Field(
        default=DataSettings(), description="The microscope, the camera, the exposures."
    )
    output: OutputSettings = Field(
        default=OutputSettings(), description="Which files are written, and how."
    )
    motion: MotionSettings = Field(
        default=MotionSettings(), description="Motion correction (movies only)."
    )
    ctf: CtfSettings = Field(default=CtfSettings(), description="CTF estimation.")
    pick: PickSettings = Field(default=PickSettings(), description="Particle picking.")
    extract: ExtractSettings = Field(
        default=ExtractSettings(), description="Particle extraction; one box for all exposures."
    )
    alarms: AlarmSettings = Field(
        default=AlarmSettings(), description="When somebody is called during a live run."
    )
    group: tuple[GroupSettings, ...] = Field(
        default=(),
        description="Groups of movies with facts of their own, such as the gain of another day. "
        "Each has a table with its name, its files and what differs from [data]:",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> SessionSettings:
        names = [group.name for group in self.group]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"Two groups are called {twice[0]}", "a name of its own for each")
        return self

    @classmethod
    def migrate(cls, content: Mapping[str, Any], schema: int) -> dict[str, Any]:
        """Return what the content of an older file means today."""
        if schema < 2:
            return {**content, "pick": migrated_pick(content.get("pick", {}))}
        return dict(content)
