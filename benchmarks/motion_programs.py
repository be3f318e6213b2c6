"""The programs that correct motion, as commands, and the movies that they are timed on."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measure import measured

RELION = shutil.which("relion_run_motioncorr")
"""RELION's program, None where it is not installed."""


@dataclass(frozen=True)
class Programs:
    """Icefloe and RELION with the same choices.

    Attributes
    ----------
    dose
        e/A^2 a frame.
    pixel_size
        A.
    threads
        Of both programs.
    device
        Of Icefloe.
    binning
        Of the output.
    extra
        More options of `icefloe motion`.
    """

    dose: float = 1.2
    pixel_size: float = 1.0
    threads: int = 2
    device: str = "cpu"
    binning: float = 1.0
    extra: tuple[str, ...] = field(default=())

    def arguments(self, movies: list[str], out: str, gain: str = "gain.mrc") -> list[str]:
        """Return the arguments of `icefloe` for movies."""
        return [
            "motion", *movies, "--out", out, "--gain", gain,
            "--pixel-size", str(self.pixel_size), "--voltage", "300",
            "--dose-per-frame", str(self.dose), "--bin", str(self.binning),
            "--device", self.device, "--threads", str(self.threads), *self.extra,
        ]  # fmt: skip

    def icefloe(self, movie: str = "movie.tiff", out: str = "icefloe", **gain: str) -> list[str]:
        """Return Icefloe's command."""
        return [sys.executable, "-m", "icefloe", *self.arguments([movie], out, **gain)]

    def relion(self, movie: str = "movie.tiff", out: str = "relion") -> list[str]:
        """Return RELION's command, with 5 x 5 patches."""
        return [
            RELION or "relion_run_motioncorr", "--use_own", "--i", movie, "--o", out,
            "--gainref", "gain.mrc", "--angpix", str(self.pixel_size), "--voltage", "300",
            "--dose_per_frame", str(self.dose), "--dose_weighting", "--save_noDW",
            "--bin_factor", str(self.binning), "--patch_x", "5", "--patch_y", "5",
            "--grouping_for_ps", "3", "--j", str(self.threads),
        ]  # fmt: skip

    def start(self, work: Path) -> dict[str, dict[str, float]]:
        """Return the figures of each program for the smallest movie, 256 x 256 x 3.

        That is what starting costs. Each runs twice and the second run counts: the compiled
        loops are made once after installation, and that is not what is measured.
        """
        folder = work / "start"
        folder.mkdir(exist_ok=True)
        frames = np.random.default_rng(0).poisson(1.0, (3, 256, 256)).astype(np.uint8)
        write_movie(folder, frames, np.ones((256, 256), np.float32), self.pixel_size)
        commands = {"icefloe": self.icefloe()}
        if RELION:
            # Its spectrum of 512 pixels of 1.4 A needs a larger frame.
            commands["relion"] = [*self.relion(), "--ps_size", "64"]
        found = {}
        for name, command in commands.items():
            for _ in range(2):
                shutil.rmtree(folder / name, ignore_errors=True)
                found[name] = measured(command, folder, self.threads)
        return found


def write_movie(
    folder: Path, frames: np.ndarray, gain: np.ndarray, pixel_size: float, name: str = "movie"
) -> None:
    """Write NAME.tiff and gain.mrc."""
    from icefloe.formats.mrc import write_mrc
    from icefloe.formats.tiff import write_tiff_movie

    write_tiff_movie(folder / f"{name}.tiff", frames, pixel_size)
    write_mrc(folder / "gain.mrc", gain, pixel_size)


class Tiles:
    """Frames of any size from those of a small movie, side by side; a sequence of frames.

    Such a movie costs a program what a simulated one of its size does, as no step depends on what
    is in the frames, but for the few turns that an iteration may take more or less.
    """

    def __init__(self, frames: np.ndarray, n: int, shape: tuple[int, int]) -> None:
        if n > len(frames):
            raise ValueError(f"{n} frames of {len(frames)}: repeated noise would align itself")
        self.frames, self.n, self.shape = frames, n, shape

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> np.ndarray:
        return tiled(self.frames[index], self.shape)


def tiled(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return an image repeated in y and x, and cut to a shape."""
    times = [-(-n // m) for n, m in zip(shape, image.shape, strict=True)]
    return np.ascontiguousarray(np.tile(image, times)[: shape[0], : shape[1]])


def simulate(name: str, **choices: Any) -> Any:
    """Return a simulated movie."""
    from icefloe.simulate import SimulationSettings, simulate_movie

    return simulate_movie(SimulationSettings.make(**choices), name=name)
