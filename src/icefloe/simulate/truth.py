"""What a simulated movie really is, in memory and in a file beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.errors import InputError
from icefloe.formats.atomic import atomic_path
from icefloe.optics import CtfParameters
from icefloe.simulate.motion import SimulatedField
from icefloe.simulate.settings import SimulationSettings
from icefloe.simulate.specimen import euler_matrices

__all__ = ["MovieTruth"]


@dataclass(frozen=True, eq=False)
class MovieTruth:
    """The truth about a simulated movie or micrograph.

    Attributes
    ----------
    name
        The movie's name, which seeds its randomness.
    settings
        What it was made from.
    field
        The motion; None for a simulated micrograph, which has none.
    ctf
        Optics at the centre of the frame, at the mid-height of the ice.
    y, x
        (n,) centres of the particles in the first frame, pixels of the movie.
    defocus
        (n,) mean defocus of each particle, A.
    angles
        (n, 3) rot, tilt, psi of each particle, degrees, RELION's ZYZ.
    diameter
        Diameter of the particle, A.
    gain
        (ny, nx) multiplicative, 0 where dead; None for a micrograph.
    defects
        (ny, nx) bool, dead and hot pixels; None for a micrograph.
    clean
        (ny, nx) float32: contrast relative to the mean of everything that is protein (particles,
        broken ones, clumps, loose pieces) with the CTF and the camera's transfer, without
        water, damage and counting, as in the first frame.
    junk
        (ny, nx) bool: contamination.
    """

    name: str
    settings: SimulationSettings
    field: SimulatedField | None
    ctf: CtfParameters
    y: FloatArray
    x: FloatArray
    defocus: FloatArray
    angles: FloatArray
    diameter: float
    gain: FloatArray | None
    defects: BoolArray | None
    clean: FloatArray
    junk: BoolArray

    @property
    def pixel_size(self) -> float:
        """Pixel size of the movie, A."""
        return self.settings.movie_pixel_size

    @property
    def yx(self) -> FloatArray:
        """Centres of the particles, (n, 2), pixels."""
        return np.stack([self.y, self.x], axis=-1)

    def rotation_matrices(self) -> FloatArray:
        """Return (n, 3, 3): the point r of the particle is seen at ``(R r)[:2]`` = (x, y)."""
        return euler_matrices(self.angles)

    def save(self, path: str | Path) -> None:
        """Write a NumPy archive; it loads without pickle."""
        arrays: dict[str, object] = {
            "name": np.array(self.name),
            "settings": np.array(self.settings.model_dump_json()),
            "ctf": np.array(list(asdict(self.ctf).values())),
            "diameter": np.array(self.diameter),
            "clean": self.clean,
            "junk": np.packbits(self.junk),
        }
        arrays |= {n: getattr(self, n) for n in ("y", "x", "defocus", "angles")}
        if self.field is not None:
            arrays |= {
                f"field_{n}": getattr(self.field, n)
                for n in ("global_shifts", "curves", "dome", "wave")
            }
        if self.gain is not None and self.defects is not None:
            arrays |= {"gain": self.gain, "defects": np.packbits(self.defects)}
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> MovieTruth:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            The file is missing or is not a truth file.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive.items())
            settings = SimulationSettings.model_validate_json(str(arrays["settings"]))
            shape = settings.movie_shape
            field = None
            if "field_curves" in arrays:
                field = SimulatedField(
                    shape,
                    arrays["field_global_shifts"],
                    arrays["field_curves"],
                    arrays["field_dome"],
                    arrays["field_wave"],
                )
            return cls(
                name=str(arrays["name"]),
                settings=settings,
                field=field,
                ctf=CtfParameters(*(float(v) for v in arrays["ctf"])),
                **{n: arrays[n] for n in ("y", "x", "defocus", "angles", "clean")},
                diameter=float(arrays["diameter"]),
                gain=arrays.get("gain"),
                defects=_unpack(arrays["defects"], shape) if "defects" in arrays else None,
                junk=_unpack(arrays["junk"], shape),
            )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{path} is not a truth file ({type(error).__name__}: {error})",
                "NAME_truth.npz as `icefloe simulate` writes it",
            ) from error


def _unpack(bits: AnyArray, shape: tuple[int, int]) -> BoolArray:
    return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
