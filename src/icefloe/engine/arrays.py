"""What an exposure carries from stage to stage: from memory, or read from the files there are."""

from __future__ import annotations

from typing import Any

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.engine.source import Source, open_source, read_frames, read_micrograph
from icefloe.engine.stage import Work

__all__ = [
    "FRAMES",
    "IMAGE",
    "SPECTRUM",
    "as_stored",
    "frames_of",
    "image_of",
    "import_numbers",
    "pixel_size_of",
    "prefetch_image",
    "source_of",
    "spectrum_of",
]

# Keys under which `Work` keeps the arrays.
FRAMES, IMAGE, SPECTRUM, _SOURCE = "frames", "image", "spectrum", "source"


def source_of(work: Work) -> Source:
    """Return what the exposure's file holds."""
    return work.once(_SOURCE, lambda: open_source(work.source, work.session.settings.data))


def import_numbers(work: Work) -> dict[str, Any]:
    """Return what the first stage records."""
    source = source_of(work)
    given = work.session.settings.data.pixel_size
    return {
        "kind": source.kind,
        "format": source.form,
        "pixel_size": given if given is not None else source.pixel_size,
        "header_pixel_size": source.pixel_size,
        "shape": list(source.shape),
        "n_frames": source.n_frames,
        "frame_dose_factors": list(source.frame_dose_factors),
        "camera_frames_per_fraction": source.camera_frames_per_fraction,
    }


def frames_of(work: Work) -> list[AnyArray]:
    """Return the decoded frames of a movie."""
    data = work.session.settings.data
    return work.once(FRAMES, lambda: read_frames(work.source, data))


def image_of(work: Work) -> FloatArray:
    """Return the micrograph that later stages work on, exactly as its file has it."""

    def read() -> FloatArray:
        if work.numbers["import"]["kind"] == "movie":
            return read_micrograph(work.session.project.micrographs / f"{work.name}.mrc")
        image = read_micrograph(work.source)
        return image if source_of(work).is_plain_mrc else as_stored(work, image)

    return work.once(IMAGE, read)


def prefetch_image(work: Work) -> None:
    """Read a finished micrograph; called in the reading thread."""
    # A movie's micrograph may be about to be made again; it is read when it is asked for.
    if work.numbers.get("import", {}).get("kind") == "micrograph":
        image_of(work)


def spectrum_of(work: Work) -> FloatArray:
    """Return the power spectrum that motion correction made."""
    path = work.session.project.micrographs / f"{work.name}_PS.mrc"
    return work.once(SPECTRUM, lambda: read_micrograph(path))


def as_stored(work: Work, image: FloatArray) -> FloatArray:
    """Return the image with the precision that its file keeps.

    Later stages then see the same numbers in the run that makes the file and in one that reads it.
    """
    image = np.asarray(image, dtype=np.float32)
    if work.session.settings.output.float16:
        return np.asarray(image.astype(np.float16), dtype=np.float32)
    return image


def pixel_size_of(work: Work) -> float:
    """Return the micrograph's pixel size, A."""
    stage = "motion" if work.numbers["import"]["kind"] == "movie" else "import"
    return float(work.numbers[stage]["pixel_size"])
