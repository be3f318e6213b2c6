"""RELION's Bayesian polishing as a reader: the tracks that it takes from a motion STAR."""

from __future__ import annotations

import subprocess

import numpy as np

from icefloe.formats.mrc import write_mrc
from icefloe.formats.star import StarTable, read_star, write_star
from icefloe.interop.optics import optics_table

BOX = 48


def starting_tracks(folder, corrected, micrograph, optics, y, x, frames):
    """Return (particles, frames, 2) displacements (dy, dx), A, with which polishing begins.

    Without iterations RELION writes the tracks that it starts from: the motion STAR, evaluated by
    RELION at each particle.

    Parameters
    ----------
    corrected
        corrected_micrographs.star, from `folder`.
    micrograph
        The micrograph's name in it.
    optics
        Its `OpticsGroup`.
    y, x
        Places of particles, pixels of the micrograph.
    frames
        First and last, counted from 1.
    """
    n = len(y)
    zero, one = np.zeros(n), np.ones(n, dtype=int)
    pixel = optics.micrograph_pixel_size
    particles = StarTable(
        {
            "rlnCoordinateX": np.asarray(x, float),
            "rlnCoordinateY": np.asarray(y, float),
            "rlnImageName": np.array([f"{i + 1:06d}@p.mrcs" for i in range(n)], dtype=object),
            "rlnMicrographName": np.array([micrograph] * n, dtype=object),
            "rlnOpticsGroup": one,
            "rlnDefocusU": zero + 15000,
            "rlnDefocusV": zero + 15000,
            "rlnDefocusAngle": zero,
            "rlnAngleRot": zero,
            "rlnAngleTilt": zero,
            "rlnAnglePsi": zero,
            "rlnOriginXAngst": zero,
            "rlnOriginYAngst": zero,
            "rlnRandomSubset": np.arange(n) % 2 + 1,
        }
    )
    table = optics_table([optics], image_pixel_size=pixel, image_size=BOX)
    write_star(folder / "particles.star", {"optics": table, "particles": particles})
    grid = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    radius = np.sqrt(np.sum(grid**2, axis=0))
    rng = np.random.default_rng(0)
    for half in (1, 2):
        shell = np.exp(-(((radius - 14) / 3) ** 2)) + 0.01 * rng.normal(size=radius.shape)
        write_mrc(folder / f"half{half}_class001_unfil.mrc", shell.astype(np.float32), pixel)
    write_mrc(folder / "mask.mrc", np.clip((22 - radius) / 4, 0, 1).astype(np.float32), pixel)
    (folder / "pp").mkdir(exist_ok=True)
    halves = [f"half{half}_class001_unfil.mrc" for half in (1, 2)]
    subprocess.run(
        ["relion_postprocess", "--i", halves[0], "--i2", halves[1], "--o", "pp/pp",
         "--angpix", str(pixel), "--mask", "mask.mrc"],
        cwd=folder, check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    done = subprocess.run(
        ["relion_motion_refine", "--i", "particles.star", "--f", "pp/pp.star", "--m1", halves[0],
         "--m2", halves[1], "--mask", "mask.mrc", "--corr_mic", str(corrected),
         "--o", "polish/", "--angpix_ref", str(pixel), "--max_iters", "0", "--j", "1",
         "--first_frame", str(frames[0]), "--last_frame", str(frames[1])],
        cwd=folder, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    found = next((folder / "polish").rglob("*_tracks.star"))
    tracks = read_star(found)
    return np.stack(
        [np.stack([tracks[str(i)][f"rlnOrigin{a}Angst"] for a in "YX"], axis=-1) for i in range(n)]
    )
