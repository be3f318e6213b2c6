"""A small session: several movies of one grid, with a gain, defects and one bad exposure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from icefloe.errors import SettingsError
from icefloe.formats.atomic import output_directory, write_bytes
from icefloe.simulate.movie import simulate_micrograph, simulate_movie
from icefloe.simulate.output import MovieFiles, MovieFormat, write_micrograph, write_movie
from icefloe.simulate.seeds import generator
from icefloe.simulate.settings import SimulationSettings

__all__ = [
    "SimulatedSession",
    "Unusable",
    "session_settings",
    "simulate_micrographs",
    "simulate_session",
]

Unusable = Literal["none", "drift", "truncated"]


@dataclass(frozen=True)
class SimulatedSession:
    """A session on disk.

    Attributes
    ----------
    directory
        It holds ``movies/`` and ``truth/`` with the truths, the gain and the defects.
    movies
        The files of each movie.
    gain, defects
        Shared by all.
    unusable
        The movie that is ruined, if one is.
    settings
        What the movies have in common; defocus and astigmatism are each movie's own.
    """

    directory: Path
    movies: tuple[MovieFiles, ...]
    gain: Path
    defects: Path
    unusable: Path | None
    settings: SimulationSettings


def session_settings(
    base: SimulationSettings, n_movies: int, defocus_range: tuple[float, float]
) -> list[SimulationSettings]:
    """Return settings of a session's movies: defoci spread over the range in random order."""
    low, high = defocus_range
    rng = generator("session", base.seed, "defocus")
    steps = rng.permutation(n_movies)
    out = []
    for step in steps:
        defocus = low + (high - low) * (step + 0.5) / n_movies
        change = {
            "defocus": round(float(defocus), 1),
            "astigmatism": round(float(rng.uniform(0.3, 1.5)) * base.astigmatism, 1),
            "astigmatism_angle": round(base.astigmatism_angle + float(rng.uniform(-10, 10)), 1),
        }
        out.append(base.model_copy(update=change))
    return out


def simulate_session(
    out: str | Path,
    n_movies: int = 6,
    *,
    settings: SimulationSettings | None = None,
    defocus_range: tuple[float, float] = (8000.0, 22000.0),
    format: MovieFormat = "tiff",  # noqa: A002 - the word a user types
    unusable: Unusable = "drift",
    prefix: str = "movie",
    report: Callable[[MovieFiles, SimulationSettings], None] | None = None,
) -> SimulatedSession:
    """Simulate movies of one grid and write them.

    Parameters
    ----------
    out
        Directory, made where needed.
    n_movies
        How many, with the unusable one.
    settings
        What they have in common. By default 1024 x 1024 pixels of 1.2 A, 20 frames, and a gain
        that has to be rotated and flipped.
    defocus_range
        Smallest and largest defocus, A.
    format
        As for `write_movie`.
    unusable
        What is wrong with the second last movie: the stage ran away ("drift"), the file ends
        early ("truncated"), or "none".
    prefix
        Movies are called PREFIX_001 and so on.
    report
        Called after each movie.
    """
    if n_movies < 1:
        raise SettingsError(f"A session of {n_movies} movies", "at least 1")
    directory = output_directory(out)
    base = settings or SimulationSettings(
        shape=(1024, 1024), pixel_size=1.2, n_frames=20, gain_rotate=1, gain_flip=2
    )
    bad = n_movies - 2 if unusable != "none" and n_movies > 1 else -1
    written: list[MovieFiles] = []
    for index, one in enumerate(session_settings(base, n_movies, defocus_range)):
        ruined = index == bad and unusable == "drift"
        own = one.model_copy(update={"drift_ruined": True}) if ruined else one
        movie = simulate_movie(own, f"{prefix}_{index + 1:03d}", camera=f"{prefix} camera")
        files = write_movie(
            movie,
            directory / "movies",
            format,
            gain=not written,
            defects=not written,
            side_dir=directory / "truth",
        )
        if index == bad and unusable == "truncated":
            data = files.movie.read_bytes()
            write_bytes(files.movie, data[: len(data) // 2])
        written.append(files)
        if report is not None:
            report(files, own)
    gain, defects = written[0].gain, written[0].defects
    assert gain is not None
    assert defects is not None
    return SimulatedSession(
        directory=directory,
        movies=tuple(written),
        gain=gain,
        defects=defects,
        unusable=written[bad].movie if bad >= 0 else None,
        settings=base,
    )


def simulate_micrographs(
    out: str | Path,
    count: int = 6,
    *,
    settings: SimulationSettings | None = None,
    defocus_range: tuple[float, float] = (8000.0, 22000.0),
    prefix: str = "micrograph",
    report: Callable[[MovieFiles, SimulationSettings], None] | None = None,
) -> tuple[MovieFiles, ...]:
    """Simulate aligned micrographs and write them to OUT/micrographs, the truths to OUT/truth."""
    directory = output_directory(out)
    written = []
    base = settings or SimulationSettings(shape=(1024, 1024), pixel_size=1.2)
    for index, one in enumerate(session_settings(base, count, defocus_range)):
        image = simulate_micrograph(one, f"{prefix}_{index + 1:03d}")
        files = write_micrograph(image, directory / "micrographs", side_dir=directory / "truth")
        written.append(files)
        if report is not None:
            report(files, one)
    return tuple(written)
