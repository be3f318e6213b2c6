"""Motion in RELION's STAR files: what Bayesian polishing reads, and the list of micrographs.

RELION's conventions, which differ from ours: shifts have the opposite sign (what to add to bring
the specimen back), lie in unbinned movie pixels, and the local part is a polynomial, for each axis
``sum_s T_s(u, v) (c_s1 z + c_s2 z^2 + c_s3 z^3)`` with T = 1, u, u^2, v, v^2, uv,
``u = x / nx - 1/2``, ``v = y / ny - 1/2`` and z the frame's number counted from the first used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray
from icefloe.errors import StarColumnError
from icefloe.formats.star import StarTable, read_star
from icefloe.interop.optics import OpticsGroup, optics_table

__all__ = ["MotionStar", "corrected_micrographs", "motion_star", "read_motion_star"]

_NOT_OBSERVED = -9999.0


def motion_star(
    numbers: Mapping[str, Any],
    *,
    movie_name: str,
    gain_name: str | None = None,
    defect_name: str | None = None,
    eer: Mapping[str, int] | None = None,
) -> dict[str, StarTable]:
    """Return the blocks of a movie's metadata STAR.

    Parameters
    ----------
    numbers
        From `MotionResult.numbers`.
    movie_name, gain_name, defect_name
        Files as RELION should find them. The gain must be in the movie's orientation, since
        RELION's polishing applies it without turning it.
    eer
        ``{"upsampling": 1, "grouping": 40}`` for an EER movie, upsampling as RELION counts it
        (3 for the 16K grid). With ``"camera_frames"`` too, a
        shorter last fraction is left out, since RELION does not render it.
    """
    ny, nx = numbers["movie_shape"]
    total = int(numbers["n_frames_total"])
    if eer is not None and "camera_frames" in eer:
        total = max(1, min(total, int(eer["camera_frames"]) // int(eer["grouping"])))
    general: dict[str, Any] = {
        "rlnImageSizeX": int(nx),
        "rlnImageSizeY": int(ny),
        "rlnImageSizeZ": total,
        "rlnMicrographMovieName": movie_name,
    }
    if gain_name is not None:
        general["rlnMicrographGainName"] = gain_name
    if defect_name is not None:
        general["rlnMicrographDefectFile"] = defect_name
    general |= {
        "rlnMicrographBinning": float(numbers["binning"]),
        "rlnMicrographOriginalPixelSize": float(numbers["movie_pixel_size"]),
        "rlnMicrographDoseRate": float(numbers["dose_per_frame"]),
        "rlnMicrographPreExposure": float(numbers["pre_exposure"]),
        "rlnVoltage": float(numbers["voltage"]),
        "rlnMicrographStartFrame": int(numbers["first_frame"]),
    }
    if eer is not None:
        general |= {
            "rlnEERUpsampling": int(eer["upsampling"]),
            "rlnEERGrouping": int(eer["grouping"]),
        }
    local = numbers["local_coefficients"]
    general["rlnMotionModelVersion"] = 0 if local is None else 1
    blocks = {
        "general": StarTable.from_values(general),
        "global_shift": _global_table(numbers, total),
    }
    if local is not None:
        coefficients = -np.concatenate([local["x"], local["y"]])
        blocks["local_motion_model"] = StarTable(
            {
                "rlnMotionModelCoeffsIdx": np.arange(36),
                "rlnMotionModelCoeff": coefficients.astype(np.float64),
            }
        )
    hot = np.asarray(numbers["hot_pixels"], dtype=np.float64).reshape(-1, 2)
    if len(hot):
        blocks["hot_pixels"] = StarTable(
            {"rlnCoordinateX": hot[:, 1].copy(), "rlnCoordinateY": hot[:, 0].copy()}
        )
    if local is not None:
        blocks["local_shift"] = _local_table(numbers)
    return blocks


def _global_table(numbers: Mapping[str, Any], total: int) -> StarTable:
    first = int(numbers["first_frame"])
    shifts = np.full((total, 2), _NOT_OBSERVED)
    used = np.asarray(numbers["global_shifts"], dtype=np.float64).reshape(-1, 2)
    used = used[: max(0, total - first + 1)]
    # Plus zero: no "-0.000000" for the frame that is at rest.
    shifts[first - 1 : first - 1 + len(used)] = -used + 0.0
    return StarTable(
        {
            "rlnMicrographFrameNumber": np.arange(1, total + 1),
            "rlnMicrographShiftX": shifts[:, 1].copy(),
            "rlnMicrographShiftY": shifts[:, 0].copy(),
        }
    )


def _local_table(numbers: Mapping[str, Any]) -> StarTable:
    # The local part at the patches' centres, frame by frame.
    whole = np.asarray(numbers["global_shifts"], dtype=np.float64)
    shifts = -(np.asarray(numbers["patch_shifts"], dtype=np.float64) - whole) + 0.0
    centres = np.asarray(numbers["patch_centres"], dtype=np.float64)
    n_patches, n_frames = shifts.shape[:2]
    number = np.arange(n_frames) + int(numbers["first_frame"])
    return StarTable(
        {
            "rlnMicrographFrameNumber": np.repeat(number, n_patches),
            "rlnCoordinateX": np.tile(centres[:, 1], n_frames),
            "rlnCoordinateY": np.tile(centres[:, 0], n_frames),
            "rlnMicrographShiftX": shifts[:, :, 1].T.ravel().copy(),
            "rlnMicrographShiftY": shifts[:, :, 0].T.ravel().copy(),
        }
    )


def corrected_micrographs(
    rows: Sequence[Mapping[str, Any]], optics: Sequence[OpticsGroup]
) -> dict[str, StarTable]:
    """Return the blocks of corrected_micrographs.star.

    Parameters
    ----------
    rows
        One a micrograph: ``micrograph``, ``metadata`` (file names), ``numbers`` (from
        `MotionResult.numbers`); and where there are such files ``no_dw``, ``power_spectrum``,
        ``even``, ``odd``; ``optics_group`` unless it is 1. A column is written when every row has
        it. The accumulated motion is written in movie pixels, as RELION does (its own
        documentation says angstrom).
    optics
        The optics groups.
    """
    names = {
        "no_dw": "rlnMicrographNameNoDW",
        "power_spectrum": "rlnCtfPowerSpectrum",
        "even": "rlnMicrographNameEven",
        "odd": "rlnMicrographNameOdd",
        "micrograph": "rlnMicrographName",
        "metadata": "rlnMicrographMetadata",
    }
    present = [k for k in names if all(row.get(k) is not None for row in rows)]
    table = []
    for row in rows:
        numbers = row["numbers"]
        pixel = float(numbers["movie_pixel_size"])
        table.append(
            {
                **{names[k]: str(row[k]) for k in present},
                "rlnOpticsGroup": int(row.get("optics_group", 1)),
                "rlnAccumMotionTotal": float(numbers["motion_total"]) / pixel,
                "rlnAccumMotionEarly": float(numbers["motion_early"]) / pixel,
                "rlnAccumMotionLate": float(numbers["motion_late"]) / pixel,
            }
        )
    columns = [names[k] for k in present]
    columns += ["rlnOpticsGroup"] + [f"rlnAccumMotion{p}" for p in ("Total", "Early", "Late")]
    return {"optics": optics_table(optics), "micrographs": StarTable.from_rows(table, columns)}


@dataclass(frozen=True, eq=False)
class MotionStar:
    """Motion as a RELION metadata STAR describes it.

    Attributes
    ----------
    shape
        (ny, nx) of the movie.
    global_shifts
        (F, 2), as in the file: RELION's sign, (y, x), unbinned pixels, from the first used frame
        on.
    coefficients
        (2, 6, 3) for y and x, spatial terms and powers of z, as in the file; None without local
        model.
    first_frame
        1-based.
    general
        The values of data_general.
    """

    shape: tuple[int, int]
    global_shifts: FloatArray
    coefficients: FloatArray | None
    first_frame: int
    general: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.global_shifts)

    def displacement(self, frame: ArrayLike, y: ArrayLike, x: ArrayLike) -> FloatArray:
        """Return the specimen's displacement (dy, dx), our sign; frame counts from 0."""
        frame = np.asarray(frame)
        out = -(self.global_shifts[frame] - self.global_shifts[0])
        if self.coefficients is None:
            shape = np.broadcast_shapes(frame.shape, np.shape(y), np.shape(x))
            return np.array(np.broadcast_to(out, (*shape, 2)))
        v = np.asarray(y, dtype=np.float64) / self.shape[0] - 0.5
        u = np.asarray(x, dtype=np.float64) / self.shape[1] - 0.5
        z = frame.astype(np.float64)
        local = []
        for c in self.coefficients:
            total: FloatArray = np.zeros(())
            for term, t in zip((1.0, u, u * u, v, v * v, u * v), c, strict=True):
                total = total + term * (z * (t[0] + z * (t[1] + z * t[2])))
            local.append(total)
        return np.asarray(out - np.stack(local, axis=-1))


def read_motion_star(path: str | Path) -> MotionStar:
    """Read a movie's metadata STAR of RELION or of this program.

    Raises
    ------
    StarColumnError
        A block or column is missing.
    """
    blocks = read_star(path)
    for name in ("general", "global_shift"):
        if name not in blocks:
            raise StarColumnError(
                f"{path} has no data_{name} block", "the metadata STAR of one movie"
            )
    general = next(blocks["general"].rows())
    table = blocks["global_shift"]
    first = int(general.get("rlnMicrographStartFrame", 1))
    order = np.argsort(np.asarray(table["rlnMicrographFrameNumber"]), kind="stable")
    shifts = np.stack(
        [np.asarray(table[f"rlnMicrographShift{axis}"], dtype=np.float64)[order] for axis in "YX"],
        axis=-1,
    )
    numbers = np.asarray(table["rlnMicrographFrameNumber"])[order]
    used = (numbers >= first) & (shifts[:, 0] > _NOT_OBSERVED + 1)
    coefficients = None
    if int(general.get("rlnMotionModelVersion", 0)) == 1:
        model = blocks["local_motion_model"]
        flat = np.zeros(36)
        flat[np.asarray(model["rlnMotionModelCoeffsIdx"], dtype=int)] = model["rlnMotionModelCoeff"]
        coefficients = np.stack([flat[18:], flat[:18]]).reshape(2, 6, 3)
    return MotionStar(
        shape=(int(general["rlnImageSizeY"]), int(general["rlnImageSizeX"])),
        global_shifts=shifts[used],
        coefficients=coefficients,
        first_frame=first,
        general=general,
    )
