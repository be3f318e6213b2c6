"""The picture of `icefloe boxsize`: where defocus puts a particle's detail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from icefloe._types import FloatArray
    from icefloe.optics import BoxAdvice

__all__ = ["delocalised", "kept_fraction", "write_picture"]


def delocalised(advice: BoxAdvice, n: int = 512) -> tuple[FloatArray, FloatArray, float]:
    """Return a disc of fine detail, what defocus makes of it, and the pixel size.

    The detail is noise at the resolution of `advice`, within 15 % of its frequency, inside a disc
    of the particle's diameter. The image is (n, n) and holds 1.3 times the advised box.
    """
    rng = np.random.default_rng(0)
    pixel = max(1.3 * advice.minimum / n, 1e-3)
    pixel = min(pixel, advice.resolution / 2.4)
    n = int(2 * np.ceil(1.3 * advice.minimum / pixel / 2))
    c = (np.arange(n) - n // 2) * pixel
    inside = np.hypot(c[:, None], c[None, :]) <= advice.diameter / 2
    k = np.hypot(np.fft.fftfreq(n, pixel)[:, None], np.fft.rfftfreq(n, pixel)[None, :])
    band = np.abs(k * advice.resolution - 1) < 0.15
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * band, (n, n))
    particle = np.where(inside, noise, 0.0)
    spectrum = np.fft.rfft2(particle) * band  # cutting the disc made other frequencies
    particle = np.fft.irfft2(spectrum, (n, n))
    imaged = np.fft.irfft2(spectrum * _ctf(advice, n, pixel), (n, n))
    return particle, imaged, pixel


def kept_fraction(imaged: FloatArray, pixel: float, boxes: FloatArray) -> FloatArray:
    """Return which part of the signal's power lies inside square boxes of these widths, A."""
    power = np.asarray(imaged, dtype=np.float64) ** 2
    c = (np.arange(len(power)) - len(power) // 2) * pixel
    reach = np.maximum(np.abs(c)[:, None], np.abs(c)[None, :])
    order = np.argsort(reach, axis=None)
    total = np.concatenate([[0.0], np.cumsum(power.ravel()[order])])
    return np.asarray(total[np.searchsorted(reach.ravel()[order], boxes / 2)] / total[-1])


def write_picture(path: Path, advice: BoxAdvice, box: float | None = None) -> float:
    """Draw particle, image and kept signal into a PNG, PDF or SVG; return what the box keeps.

    Parameters
    ----------
    path
        The file; its suffix is the format.
    advice
        Diameter, defocus and resolution.
    box
        A box, A, to compare with the advised one.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    from icefloe.formats.atomic import atomic_path

    particle, imaged, pixel = delocalised(advice)
    half = len(imaged) * pixel / 2
    figure, axes = plt.subplots(1, 3, figsize=(12.6, 4.4), layout="constrained")
    titles = (
        f"Detail of {advice.resolution:g} A in a particle of {advice.diameter:g} A",
        f"The same, imaged at a defocus of {advice.defocus / 1e4:.3g} µm",
    )
    marks = [(advice.size, "#0072b2", f"advised: {advice.size:.0f} A")]
    if box is not None:
        marks.append((box, "#d55e00", f"asked about: {box:.0f} A"))
    for axis, image, title in zip(axes, (particle, imaged), titles, strict=False):
        limit = float(np.percentile(np.abs(image[image != 0]), 99))
        axis.imshow(image, cmap="gray", vmin=-limit, vmax=limit, origin="lower",
                    extent=(-half, half, -half, half), interpolation="nearest")  # fmt: skip
        for size, colour, _ in marks:
            corner = (-size / 2, -size / 2)
            axis.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=colour, lw=1.8))
        axis.set(title=title, xlabel="A")
    widths = np.linspace(0.4 * advice.diameter, 2 * half, 120)
    axes[2].plot(widths, 100 * kept_fraction(imaged, pixel, widths), color="black")
    for size, colour, label in marks:
        axes[2].axvline(size, color=colour, label=label)
    axes[2].set(title="Signal inside the box", xlabel="Side of the box, A", ylabel="%",
                ylim=(0, 103))  # fmt: skip
    axes[2].legend(loc="upper left", frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
    asked = advice.size if box is None else box
    return float(kept_fraction(imaged, pixel, np.array([asked]))[0])


def _ctf(advice: BoxAdvice, n: int, pixel: float) -> FloatArray:
    from icefloe.optics import CtfParameters, ctf_2d

    parameters = CtfParameters(advice.defocus, advice.defocus, voltage=advice.voltage, cs=0.0)
    return np.asarray(ctf_2d(parameters, (n, n), pixel))
