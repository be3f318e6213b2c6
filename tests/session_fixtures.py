"""A small simulated session that several test modules look at, and the commands that make it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from icefloe.formats import write_mrc
from icefloe.formats.tiff import write_tiff_movie
from icefloe.simulate import SimulationSettings, simulate_movie
from session_tools import FRAMES, PIXEL, SIZE, run


@pytest.fixture(scope="session")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two movies, one that ends early, and their gain."""
    directory = tmp_path_factory.mktemp("movies")
    for index in (1, 2):
        settings = SimulationSettings(
            shape=(SIZE, SIZE),
            n_frames=FRAMES,
            pixel_size=PIXEL,
            dose_per_frame=8.0,
            defocus=9000.0 + 6000 * index,
            # So small a field has few rings; these make them plain.
            debris=0.1,
            contrast=1.0,
            drift=3.0,
            doming=0.0,
        )
        simulated = simulate_movie(settings, f"movie_{index}")
        write_tiff_movie(directory / f"movie_{index}.tiff", simulated.frames, PIXEL)
    whole = (directory / "movie_1.tiff").read_bytes()
    (directory / "movie_3.tiff").write_bytes(whole[: len(whole) // 2])
    write_mrc(directory / "gain.mrc", np.asarray(simulated.gain, dtype=np.float32), PIXEL)
    return directory


@pytest.fixture(scope="session")
def finished(movies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session after one run; tests that change it take a copy."""
    project = tmp_path_factory.mktemp("session") / "s"
    assert run(project, movies) == 0
    return project


@pytest.fixture
def session(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "s", symlinks=True))
