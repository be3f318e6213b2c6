"""The files that stages name, and how each is written."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.engine.arrays import pixel_size_of
from icefloe.engine.preview import micrograph_preview, write_png
from icefloe.engine.stage import Output, Work
from icefloe.errors import OutputError
from icefloe.formats.atomic import output_directory

__all__ = [
    "link_output",
    "mask_output",
    "mrc_output",
    "picture_output",
    "preview_output",
    "text_output",
]


def mrc_output(
    work: Work,
    role: str,
    path: str,
    images: FloatArray,
    pixel_size: float,
    *,
    float16: bool | None = None,
) -> Output:
    """Return an image or a stack as MRC; with 16 bits if the settings, or `float16`, say so."""
    half = work.session.settings.output.float16 if float16 is None else float16

    def write(target: Path) -> None:
        from icefloe.formats.mrc import write_mrc

        write_mrc(target, np.asarray(images, dtype=np.float32), pixel_size, float16=half)

    return Output(role, path, write)


def text_output(role: str, path: str, text: str) -> Output:
    """Return a text file."""

    def write(target: Path) -> None:
        from icefloe.formats.atomic import write_text

        write_text(target, text)

    return Output(role, path, write)


def mask_output(work: Work, mask: BoolArray) -> Output:
    """Return the junk mask that picking found, 1 where nothing is picked, over the whole field."""
    shape = work.numbers["import"]["shape"]
    if work.numbers["import"]["kind"] == "movie":
        shape = work.numbers["motion"]["shape"]
    pixel_size = pixel_size_of(work) * float(shape[0]) / mask.shape[0]

    def write(target: Path) -> None:
        from icefloe.formats.mrc import write_mrc

        write_mrc(output_directory(target.parent) / target.name, mask.astype(np.int8), pixel_size)

    return Output("mask", f"picks/masks_found/{work.name}_mask.mrc", write)


def link_output(role: str, path: str, source: Path) -> Output:
    """Return a symbolic link to a file that needs no copy."""
    return Output(role, path, partial(_link, source))


def preview_output(work: Work, image: FloatArray, pixel_size: float) -> Output:
    """Return the small picture of a micrograph."""
    return picture_output(work, "micrograph.png", micrograph_preview(image, pixel_size))


def picture_output(work: Work, file: str, picture: AnyArray, *, role: str = "preview") -> Output:
    """Return an 8-bit picture beside the exposure's sidecars; a stage has one of each role."""
    return Output(role, f"exposures/{work.name}/{file}", lambda path: write_png(path, picture))


def _link(source: Path, path: Path) -> None:
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(source.absolute())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be made a link ({error.strerror or error})") from error
