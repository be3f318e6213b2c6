"""Draw docs/figures/simulator-vs-real.png: a simulated micrograph beside a real one.

    python docs/make_simulator_figure.py

The real one is from EMPIAR-10146 (apoferritin), read from ../shared/data where it is there. Both
are plain sums of a movie's frames.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from icefloe.fourier import apply_filter, gaussian_low_pass, rfft2, rotational_average
from icefloe.optics import ctf_1d
from icefloe.simulate import SimulationSettings, simulate_movie

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
NAME = "May08_05.31.00"
PIXEL = 1.5


def real() -> np.ndarray:
    image = Image.open(DATA / "apoferritin-10146" / f"{NAME}.png")
    return np.asarray(image, dtype=np.float32)


def simulated(shape: tuple[int, int]) -> tuple[np.ndarray, object]:
    # Defocus as CTFFIND finds it in the real one.
    settings = SimulationSettings(
        shape=shape,
        n_frames=50,
        pixel_size=PIXEL,
        cs=0.0,
        amplitude_contrast=0.07,
        defocus=22054.0,
        astigmatism=400.0,
        astigmatism_angle=-56.0,
        dose_per_frame=1.0,
        particle=str(DATA / "models" / "apoferritin_ca_24mer.pdb"),
        packing=0.57,
        min_spacing=108.0,
        faint_fraction=0.08,
        thickness=250.0,
        drift=2.0,
        doming=0.4,
        n_hot=0,
    )
    movie = simulate_movie(settings, "figure")
    total = movie.frames.sum(axis=0, dtype=np.float32) * movie.gain
    bad = movie.defects
    total[bad] = total[~bad].mean()
    return total, movie.truth


def low_passed(image: np.ndarray) -> np.ndarray:
    return apply_filter(image - image.mean(), gaussian_low_pass(image.shape, PIXEL, 15.0))


def spectrum(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotationally averaged power of 512-pixel tiles, 1 near 4 A."""
    window = np.outer(np.hanning(512), np.hanning(512))
    total = 0.0
    for y in range(0, image.shape[0] - 511, 172):
        for x in range(0, image.shape[1] - 511, 182):
            tile = image[y : y + 512, x : x + 512]
            total = total + np.abs(rfft2((tile - tile.mean()) * window)) ** 2
    k, power = rotational_average(total, (512, 512))
    k = k / PIXEL
    return k, power / np.median(power[(k > 0.23) & (k < 0.26)])


def main() -> None:
    if not (DATA / "apoferritin-10146").is_dir():
        sys.exit("The real micrographs (../shared/data/apoferritin-10146) are not here.")
    measured = real()
    made, truth = simulated(measured.shape)
    figure = plt.figure(figsize=(12, 10.5), constrained_layout=True)
    axes = figure.subplot_mosaic([["real", "made"], ["spectrum", "zoom"]], height_ratios=[3, 2])
    for key, image, title in (
        ("real", measured, f"EMPIAR-10146, {NAME}"),
        ("made", made, f"simulated, {len(truth.y)} particles"),
    ):
        view = low_passed(image)
        low, high = np.percentile(view, [0.3, 99.7])
        axes[key].imshow(view, cmap="gray", vmin=low, vmax=high)
        axes[key].set_title(
            f"{title}\nlow-passed to 15 A: sd {view.std() / image.std():.3f} of all"
        )
        axes[key].set_axis_off()
    for image, label, colour in ((measured, "real", "k"), (made, "simulated", "C3")):
        k, power = spectrum(image)
        axes["spectrum"].semilogy(k, power, colour, label=label, lw=1)
        axes["zoom"].plot(k, power, colour, label=label, lw=1)
    axes["zoom"].plot(k, 0.80 + 0.05 * ctf_1d(truth.ctf, k) ** 2, "0.6", lw=0.8, label="CTF²")
    axes["spectrum"].set(xlim=(0, 1 / 3), ylim=(0.5, 60), ylabel="power, 1 near 4 A")
    axes["zoom"].set(xlim=(0.05, 1 / 3), ylim=(0.78, 1.4))
    for key in ("spectrum", "zoom"):
        axes[key].set_xlabel("frequency, 1/A")
        axes[key].axvline(1 / 3.7, color="C0", ls=":", lw=0.8)
        axes[key].legend(frameon=False)
    out = ROOT / "docs" / "figures" / "simulator-vs-real.png"
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, dpi=75, metadata={"Software": None})
    print(out)


if __name__ == "__main__":
    main()
