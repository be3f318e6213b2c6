"""Gain references: read, oriented and fitted to a movie. Gains multiply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import GainShapeError, GainValueError, SettingsError, UnsupportedFormatError
from icefloe.formats.movie import file_kind
from icefloe.formats.mrc import read_mrc
from icefloe.formats.tiff import read_tiff

__all__ = ["fit_gain", "orient_gain", "read_gain"]


def read_gain(path: str | Path, *, for_eer: bool = False) -> NDArray[np.float32]:
    """Read a gain reference as what counts are multiplied by, in the orientation of the file.

    Parameters
    ----------
    path
        MRC; TIFF, flipped in y like TIFF movies; `.gain` (the TIFF that comes with EER, which
        multiplies and is not flipped, like EER).
    for_eer
        The gain belongs to an EER movie. An MRC gain then divides, as Thermo Fisher's do: it is
        inverted and scaled to a mean of 1, and its zeros stay zero, which marks dead pixels.

    Raises
    ------
    GainValueError
        NaN, infinity, negative values or nothing but zeros.
    UnsupportedFormatError, TruncatedFileError, InputError
    """
    kind = file_kind(path)
    if kind == "mrc":
        data, _ = read_mrc(path)
    elif kind == "tiff":
        data, _ = read_tiff(path, flip=Path(path).suffix.lower() != ".gain")
    else:
        raise UnsupportedFormatError(
            f"The gain reference {path} is of a format that is not read ({kind})",
            "MRC, TIFF or .gain",
            "Convert DM4 to MRC with IMOD's dm2mrc",
        )
    if data.ndim == 3 and len(data) == 1:
        data = data[0]
    if data.ndim != 2:
        raise GainShapeError(f"The gain reference {path} holds {len(data)} images", "one")
    gain = data.astype(np.float32)
    _check_values(gain, path)
    if for_eer and kind == "mrc":
        dead = gain == 0
        mean = gain[~dead].mean(dtype=np.float64)
        gain = np.where(dead, 0, mean / np.where(dead, 1, gain)).astype(np.float32)
    return gain


def _check_values(gain: NDArray[np.float32], path: object) -> None:
    bad = int(np.count_nonzero(~np.isfinite(gain)))
    if bad:
        raise GainValueError(
            f"The gain reference {path} has {bad} pixels that are NaN or infinite",
            "finite numbers",
            "Set dead pixels to 0",
        )
    if (gain < 0).any():
        raise GainValueError(
            f"The gain reference {path} has negative values (lowest {gain.min():g})",
            "0 for dead pixels, positive numbers elsewhere",
        )
    if not gain.any():
        raise GainValueError(f"The gain reference {path} is zero everywhere", "numbers about 1")


def orient_gain(gain: NDArray[Any], rotate: int = 0, flip: int = 0) -> NDArray[Any]:
    """Rotate, then flip a gain as RELION's --gain_rot and --gain_flip do.

    Parameters
    ----------
    gain
        (y, x), row 0 the first row of the MRC file.
    rotate
        Number of quarter turns, 0-3: clockwise when row 0 is drawn on top, which is what RELION
        does (`tests/test_formats_orientation.py` compares all cases with it).
    flip
        0 not, 1 up-down, 2 left-right.

    Raises
    ------
    SettingsError
        Another number.
    """
    if rotate not in (0, 1, 2, 3):
        raise SettingsError(f"gain rotation {rotate}", "0, 1, 2 or 3 quarter turns")
    if flip not in (0, 1, 2):
        raise SettingsError(f"gain flip {flip}", "0 (not), 1 (up-down) or 2 (left-right)")
    turned = np.rot90(gain, -rotate)
    if flip == 1:
        turned = turned[::-1]
    elif flip == 2:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def fit_gain(gain: NDArray[Any], shape: tuple[int, int]) -> tuple[NDArray[np.float32], str | None]:
    """Bring a gain to the size of the movie's frames.

    A gain that is an exact multiple of the frame's size is averaged over blocks, one that the
    frame is an exact multiple of is repeated (a counting gain for a super-resolution movie).

    Returns
    -------
    gain
        (y, x) of `shape`, float32.
    notice
        What was done, in words; None if nothing.

    Raises
    ------
    GainShapeError
        The sizes do not fit; says whether a quarter turn would help.
    """
    have, want = (int(gain.shape[0]), int(gain.shape[1])), (int(shape[0]), int(shape[1]))
    if have == want:
        return np.asarray(gain, dtype=np.float32), None
    down, up = _multiple(have, want), _multiple(want, have)
    if down:
        blocks = gain.reshape(want[0], down, want[1], down)
        # A block with a dead pixel counts on the others, which the mean over all would not.
        alive = np.count_nonzero(blocks, axis=(1, 3))
        total = blocks.sum(axis=(1, 3), dtype=np.float64)
        binned = total / np.maximum(alive, 1)
        return binned.astype(np.float32), f"the gain of {_size(have)} was binned by {down}"
    if up:
        repeated = np.repeat(np.repeat(gain, up, axis=0), up, axis=1)
        return repeated.astype(np.float32), f"the gain of {_size(have)} was magnified {up} times"
    turned = have[::-1]
    fits = turned == want or _multiple(turned, want) or _multiple(want, turned)
    raise GainShapeError(
        f"The gain reference is {_size(have)}, the movie's frames are {_size(want)}",
        "the same size, or an exact multiple",
        "A rotation by 90 degrees (1 or 3) would make it fit"
        if fits
        else "No rotation makes it fit; is it the gain of another camera or mode?",
    )


def _multiple(large: tuple[int, int], small: tuple[int, int]) -> int:
    """Return the factor by which `large` is an exact multiple of `small`, 0 if it is not one."""
    factor = large[0] // small[0]
    return factor if factor > 1 and large == (factor * small[0], factor * small[1]) else 0


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]} (columns x rows)"
