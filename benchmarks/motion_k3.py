"""A K3 super-resolution movie: 11520 x 8184 x 40, binned by 2, in little memory.

    python benchmarks/motion.py --k3 [--size full|small] [--keep DIR]

The movie is a small simulated one, tiled 6 x 6; writing its LZW takes longest. With --keep it
stays in DIR as k3.tiff and gain.mrc, and is used again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measure import measured
from motion_programs import Programs, Tiles, simulate, tiled, write_movie

SIZES = {"full": ((8184, 11520), 40, 6), "small": ((1364, 1920), 10, 2)}
"""Shape of the frames, their number, tiles along each axis."""
LIMIT, OVERHEAD = 8.0, 0.8
"""GB: what the movie may take, and what it may take beyond its decoded bytes."""
PIXEL = 0.83


def run(size: str, work: Path, programs: Programs) -> str:
    """Make the movie where it is not there yet, correct it and return the figures."""
    from icefloe.formats.movie import open_movie

    shape, n, tiles = SIZES[size]
    if not ((work / "k3.tiff").exists() and (work / "gain.mrc").exists()):
        # The simulator's shape is that of physical pixels, half of these.
        ny, nx = (-(-side // (2 * tiles)) for side in shape)
        movie = simulate(
            "k3", shape=(ny, nx), super_resolution=True, n_frames=n, pixel_size=PIXEL,
            dose_per_frame=programs.dose,
        )  # fmt: skip
        frames = Tiles(movie.frames, n, shape)
        write_movie(work, frames, tiled(movie.gain, shape), 0.5 * PIXEL, "k3")  # type: ignore[arg-type]
        del movie, frames
    with open_movie(work / "k3.tiff") as found:
        count, ny, nx = len(found), *found.shape
        one = np.asarray(found[0])
    decoded = count * one.nbytes / 1e9
    start = programs.start(work)["icefloe"]
    figures = measured(programs.icefloe("k3.tiff"), work, programs.threads)
    beyond = figures["memory"] - decoded
    return "\n".join(
        [
            f"{nx} x {ny} x {count} of {one.dtype}, bin {programs.binning:g}, "
            f"{programs.threads} threads, {programs.device}",
            f"wall time, s            {figures['wall']:8.1f}   of it start {start['wall']:.1f}",
            f"CPU time, s             {figures['cpu']:8.1f}   of it start {start['cpu']:.1f}",
            f"peak memory, GB         {figures['memory']:8.2f}   allowed {LIMIT:.1f}",
            f"decoded counts, GB      {decoded:8.2f}",
            f"peak beyond counts, GB  {beyond:8.2f}   allowed {OVERHEAD:.1f}",
        ]
    )
