"""What a simulated movie is like: one frozen model with everything that can be chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from icefloe.errors import SettingsError

__all__ = ["SimulationSettings"]

Size = Annotated[int, Field(ge=32, le=16384)]


class SimulationSettings(BaseModel):
    """Microscope, specimen, motion and detector of a simulated movie.

    Lengths are in A unless the description says pixels; pixels are those of the written movie.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[Size, Size] = Field(
        default=(2048, 2048), description="Frame size (ny, nx), pixels."
    )
    n_frames: int = Field(default=20, ge=1, le=4000, description="Frames in the movie.")
    pixel_size: float = Field(default=1.0, gt=0, description="Physical pixel size, A.")
    super_resolution: bool = Field(
        default=False, description="Record at twice the sampling: frames of twice the shape."
    )

    voltage: float = Field(default=300.0, gt=0, description="Acceleration voltage, kV.")
    cs: float = Field(default=2.7, description="Spherical aberration, mm.")
    amplitude_contrast: float = Field(
        default=0.1, ge=0, le=1, description="Amplitude contrast, 0 to 1."
    )
    defocus: float = Field(
        default=15000.0, description="Mean defocus at the centre, A, underfocus > 0."
    )
    astigmatism: float = Field(
        default=300.0, ge=0, description="Largest minus smallest defocus, A."
    )
    astigmatism_angle: float = Field(
        default=30.0, description="Azimuth of the largest defocus, degrees from +x towards +y."
    )
    phase_shift: float = Field(default=0.0, description="Phase shift of a phase plate, degrees.")
    envelope_bfactor: float = Field(
        default=20.0, ge=0, description="Envelope of the microscope, B in A^2: exp(-B k^2 / 4)."
    )
    dose_per_frame: float = Field(default=1.2, gt=0, description="Electrons per A^2 in a frame.")
    pre_exposure: float = Field(
        default=0.0, ge=0, description="Dose before the first frame, e/A^2."
    )
    illumination: float = Field(
        default=0.02, ge=0, lt=0.5, description="Fall of the beam towards the corners, fraction."
    )

    thickness: float = Field(default=350.0, gt=0, description="Thickness of the ice, A.")
    tilt: float = Field(default=0.0, gt=-75, lt=75, description="Tilt of the specimen, degrees.")
    tilt_axis: float = Field(
        default=0.0, description="Azimuth of the tilt axis, degrees from +x towards +y."
    )
    ice_strength: float = Field(
        default=1.0,
        ge=0,
        description="Amplitude of the water's noise relative to its physics; 0: none.",
    )
    ice_static_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Part of the water's power that does not move in the beam.",
    )
    background: float = Field(
        default=0.004, ge=0, description="Slow variation of the ice, relative standard deviation."
    )

    debris: float = Field(
        default=0.01, ge=0, description="Loose protein in the ice, residues per A^2."
    )
    contrast: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Part of a perfect microscope's contrast that is recorded.",
    )

    particle: str = Field(
        default="cage",
        description="'cage' (built-in, 24 subunits) or a PDB or mmCIF file, may be .gz.",
    )
    particle_diameter: float = Field(
        default=120.0, ge=60, description="Outer diameter of the built-in cage, A."
    )
    particle_bfactor: float = Field(
        default=50.0, ge=0, description="B-factor of the particle, A^2."
    )
    n_particles: int | Literal["max"] = Field(
        default="max", description="Particles in the frame, or 'max': as many as `packing` says."
    )
    packing: float = Field(
        default=0.35, ge=0, le=0.6, description="Part of the area that 'max' covers with particles."
    )
    min_spacing: float | None = Field(
        default=None, gt=0, description="Least distance of two centres, A [1.02 x the diameter]."
    )
    faint_fraction: float = Field(
        default=0.05, ge=0, le=1, description="Broken particles per good one; not in the truth."
    )

    drift: float = Field(
        default=8.0, ge=0, description="Whole-frame motion from first to last, pixels."
    )
    doming: float = Field(
        default=1.5, ge=0, description="Local motion at the last frame, RMS over the field, pixels."
    )
    jitter: float = Field(
        default=0.05, ge=0, description="Random whole-frame motion per frame and axis, RMS, pixels."
    )

    gain_strength: float = Field(
        default=0.04, ge=0, lt=0.2, description="Pixel-to-pixel variation of the gain, RMS."
    )
    n_hot: int = Field(default=12, ge=0, description="Hot pixels.")
    n_dead: int = Field(default=8, ge=0, description="Dead pixels.")
    n_dead_columns: int = Field(default=0, ge=0, description="Dead columns.")
    mtf_nyquist: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Transfer at the physical Nyquist frequency, exp(-a k^2).",
    )
    gain_rotate: int = Field(
        default=0, ge=0, le=3, description="RELION's --gain_rot that the written gain file needs."
    )
    gain_flip: int = Field(
        default=0, ge=0, le=2, description="RELION's --gain_flip that the written gain file needs."
    )

    crystals: int = Field(default=0, ge=0, description="Ice crystals on the specimen.")
    aggregates: int = Field(default=0, ge=0, description="Clumps of overlapping particles.")
    carbon_edge: bool = Field(
        default=False, description="The edge of the carbon film crosses the view."
    )
    drift_ruined: bool = Field(default=False, description="The stage runs away: no usable signal.")
    empty: bool = Field(default=False, description="No particles at all.")
    seed: int = Field(default=0, description="Another number gives another movie of the same name.")

    @classmethod
    def make(cls, **values: object) -> SimulationSettings:
        """Return settings, or raise SettingsError in one line instead of pydantic's report."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or "settings"
            raise SettingsError(
                f"The simulation's {name} is {first.get('input')!r}", first["msg"]
            ) from None

    @property
    def movie_shape(self) -> tuple[int, int]:
        """Size (ny, nx) of the frames that are written."""
        factor = 2 if self.super_resolution else 1
        return self.shape[0] * factor, self.shape[1] * factor

    @property
    def movie_pixel_size(self) -> float:
        """Pixel size of the frames that are written, A."""
        return self.pixel_size / (2 if self.super_resolution else 1)

    @property
    def total_dose(self) -> float:
        """Dose of all frames, e/A^2, without the pre-exposure."""
        return self.dose_per_frame * self.n_frames
