"""Draw docs/figures/motion-models.png: what three ways to find motion leave of it.

    python docs/make_motion_figure.py

One simulated movie, aligned as a whole, by RELION (patches by themselves, then a polynomial;
left out where `relion_run_motioncorr` is not installed) and by the joint field.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from icefloe.formats.mrc import write_mrc
from icefloe.formats.tiff import write_tiff_movie
from icefloe.interop.relion_motion import read_motion_star
from icefloe.motion import MotionSettings, correct_motion
from icefloe.simulate import SimulationSettings, simulate_movie

OUT = Path(__file__).parent / "figures" / "motion-models.png"
SHAPE, FRAMES, DOSE, GRID = (2048, 2048), 30, 1.2, 12


def relion(movie, folder: Path):
    """Return the motion that RELION finds."""
    write_tiff_movie(folder / "movie.tiff", movie.frames, 1.0)
    write_mrc(folder / "gain.mrc", movie.gain, 1.0)
    subprocess.run(
        ["relion_run_motioncorr", "--use_own", "--i", "movie.tiff", "--o", "out", "--gainref",
         "gain.mrc", "--angpix", "1", "--voltage", "300", "--dose_per_frame", str(DOSE),
         "--patch_x", "5", "--patch_y", "5", "--j", "2"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return read_motion_star(folder / "out" / "movie.star")


def difference(field, truth) -> np.ndarray:
    """Return found less true motion, (F, GRID, GRID, 2), its mean over the frames taken off."""
    frame = np.arange(FRAMES)[:, None, None]
    y, x = ((np.arange(GRID) + 0.5) * n / GRID - 0.5 for n in SHAPE)
    places = (frame, y[:, None], x[None, :])
    gap = np.asarray(field.displacement(*places)) - np.asarray(truth.displacement(*places))
    return gap - gap.mean(axis=0)


def main() -> None:
    """Simulate, align in three ways, draw."""
    settings = SimulationSettings.make(shape=SHAPE, n_frames=FRAMES, dose_per_frame=DOSE)
    movie = simulate_movie(settings, name="models")
    facts = {"pixel_size": 1.0, "dose_per_frame": DOSE, "gain": movie.gain}
    whole = correct_motion(movie.frames, settings=MotionSettings(patches=(1, 1)), **facts)
    found = {"whole frame only": whole.field}
    if shutil.which("relion_run_motioncorr"):
        with tempfile.TemporaryDirectory() as folder:
            found["patches, then a polynomial (RELION)"] = relion(movie, Path(folder))
    found["joint field (this program)"] = correct_motion(movie.frames, **facts).field
    gaps = {name: difference(field, movie.truth.field) for name, field in found.items()}
    figure, axes = plt.subplots(1, 1 + len(gaps), figsize=(4.2 * (1 + len(gaps)), 4))
    dose = DOSE * (np.arange(FRAMES) + 0.5)
    for name, gap in gaps.items():
        rms = np.sqrt(np.mean(np.sum(gap**2, axis=-1), axis=(1, 2)))
        axes[0].semilogy(dose, rms, label=f"{name}: {np.sqrt(np.mean(rms**2)):.2f} px")
    axes[0].set(xlabel="dose (e/Å²)", ylabel="error of the motion, px RMS over the frame")
    axes[0].set_ylim(top=4.0)  # room for the legend
    axes[0].legend(fontsize=8, loc="upper right")
    top = max(float(np.sqrt(np.mean(np.sum(g**2, -1), 0)).max()) for g in gaps.values())
    for axis, (name, gap) in zip(axes[1:], gaps.items(), strict=True):
        drawn = axis.imshow(np.sqrt(np.mean(np.sum(gap**2, axis=-1), axis=0)), vmin=0, vmax=top)
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=9)
    figure.colorbar(drawn, ax=axes[1:], label="px RMS over the frames", shrink=0.8)
    figure.savefig(OUT, dpi=90, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()
