"""Doses of the frames of a movie, where they differ: text, CSV, or SerialEM's mdoc."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icefloe.errors import MissingMetadataError, UnsupportedFormatError
from icefloe.formats.frames import open_binary
from icefloe.formats.mdoc import MdocSection, read_mdoc

__all__ = ["read_frame_doses"]


def read_frame_doses(path: str | Path, movie: str | Path | None = None) -> NDArray[np.float64]:
    """Return the dose of each frame, e/A^2, (n,).

    Parameters
    ----------
    path
        Text or CSV with the dose of one frame on a line, or its number (from 1) and its dose; a
        first line of words is skipped, and so is what follows a ``#``. Or an mdoc, by its suffix,
        whose `FrameDosesAndNumber` holds pairs of a dose and the number of frames with it.
    movie
        The movie, of which an mdoc of several has its own section (`SubFramePath`).

    Raises
    ------
    UnsupportedFormatError
        Text that is not one or two numbers a line, frames that are not counted from 1, or doses
        that are negative or all zero.
    MissingMetadataError
        An mdoc without the doses of this movie's frames.
    InputError
        It cannot be read.
    """
    found = _from_mdoc(path, movie) if Path(path).suffix.lower() == ".mdoc" else _from_text(path)
    doses = np.array(found, dtype=np.float64)
    if not np.isfinite(doses).all() or doses.min() < 0 or not doses.any():
        raise UnsupportedFormatError(
            f"{path} has doses from {doses.min():g} to {doses.max():g}",
            "e/A^2, none below zero and not all zero",
        )
    return doses


def _from_text(path: str | Path) -> list[float]:
    with open_binary(path) as handle:
        lines = handle.read().decode("utf-8-sig", "replace").splitlines()
    doses: list[float] = []
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            if not doses and not any(character.isdigit() for character in words[0]):
                continue
            values = []
        if len(values) not in (1, 2) or (len(values) == 2 and values[0] != len(doses) + 1):
            raise UnsupportedFormatError(
                f"Line {number} of {path} is {line.strip()[:60]!r}",
                f"the dose of frame {len(doses) + 1} in e/A^2, or this number and the dose",
            )
        doses.append(values[-1])
    if not doses:
        raise UnsupportedFormatError(f"{path} holds no numbers", "the dose of a frame on each line")
    return doses


def _from_mdoc(path: str | Path, movie: str | Path | None) -> list[float]:
    mdoc = read_mdoc(path)
    sections = [s for s in (mdoc.header, *mdoc.sections) if s.frame_doses]
    if not sections:
        raise MissingMetadataError(
            f"{path} does not have the doses of frames",
            "FrameDosesAndNumber",
            "Give --dose-per-frame or --total-dose",
        )
    own = [s for s in sections if movie is not None and _is_of(s, Path(movie))]
    chosen = own or sections
    first = chosen[0].frame_doses
    if any(section.frame_doses != first for section in chosen):
        raise MissingMetadataError(
            f"{path} has several lists of doses, and none names this movie ({movie})",
            "a section whose SubFramePath is the movie",
        )
    return first


def _is_of(section: MdocSection, movie: Path) -> bool:
    return section.movie is not None and section.movie == movie.name
