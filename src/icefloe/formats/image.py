"""One image of any format: a micrograph, a spectrum, a picture of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import TruncatedFileError, UnsupportedFormatError
from icefloe.formats.movie import file_kind
from icefloe.formats.mrc import read_mrc
from icefloe.formats.tiff import read_tiff

__all__ = ["Image", "read_image"]


@dataclass(frozen=True)
class Image:
    """A two-dimensional image.

    Parameters
    ----------
    data
        (y, x) in the type of the file; 16-bit floats as float32, for arithmetic.
    pixel_size
        In A, None where the file has none.
    """

    data: NDArray[Any]
    pixel_size: float | None


def read_image(path: str | Path) -> Image:
    """Read one image: MRC, TIFF (flipped in y), PNG or JPEG (row 0 is y = 0).

    Raises
    ------
    UnsupportedFormatError
        Another format, colours, or a stack.
    TruncatedFileError, EmptyMovieError, InputError
    """
    kind = file_kind(path)
    pixel_size: float | None = None
    if kind == "mrc":
        data, pixel_size = read_mrc(path)
    elif kind == "tiff":
        data, pixel_size = read_tiff(path)
    elif kind in ("png", "jpeg"):
        data = _read_picture(path)
    else:
        raise UnsupportedFormatError(f"{path} is not an image ({kind})", "MRC, TIFF, PNG or JPEG")
    if data.ndim == 3 and len(data) == 1:
        data = data[0]
    if data.ndim != 2:
        raise UnsupportedFormatError(
            f"{path} holds {len(data)} images of {data.shape[1:]}",
            "one image",
            "Correct the motion of movies first",
        )
    return Image(data.astype(np.float32) if data.dtype == np.float16 else data, pixel_size)


def _read_picture(path: str | Path) -> NDArray[Any]:
    import PIL.Image

    # Micrographs are larger than what Pillow takes for an attack by decompression.
    limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
    try:
        with PIL.Image.open(path) as picture:
            if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F", "L"):
                data = np.array(picture)
            elif picture.mode == "1":
                data = np.array(picture, dtype=np.uint8)
            elif picture.mode in ("RGB", "RGBA", "P", "LA"):
                data = _grey(picture, path)
            else:
                raise UnsupportedFormatError(f"{path} has pixels of type {picture.mode}", "grey")
    except (OSError, SyntaxError, ValueError) as error:
        raise TruncatedFileError(
            f"{path} cannot be decoded ({error})", "a whole picture", "Copy the file again"
        ) from error
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))


def _grey(picture: Any, path: str | Path) -> NDArray[Any]:
    """Return a colour picture whose three channels are equal as grey."""
    colours = np.array(picture.convert("RGB"))
    if (colours != colours[..., :1]).any():
        raise UnsupportedFormatError(f"{path} is in colour", "a grey image")
    return np.asarray(colours[..., 0])
