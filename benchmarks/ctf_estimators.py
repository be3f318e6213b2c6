"""Two estimators of astigmatism beside each other: `python benchmarks/ctf_estimators.py`.

`correlation_fit` is a plain stand-in for CTFFIND's published score (Rohou & Grigorieff 2015): the
correlation of the amplitude spectrum, a box average subtracted, with ``|CTF|`` at 30 to 5 A. On
the real micrographs both estimators see the same spectrum; on simulated ones of the same size and
strength the truth says which is nearer. Without a truth, the quarters of the real micrographs show
how much each estimator scatters.
"""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
from ctf import REAL, turn
from ctf_spectra import Case, spectrum_of
from scipy.ndimage import uniform_filter
from scipy.optimize import minimize

from icefloe._types import FloatArray
from icefloe.ctf import CtfSettings, estimate_ctf_from_spectrum, power_spectrum
from icefloe.ctf.refine import refine
from icefloe.ctf.samples import Optics, take_samples
from icefloe.ctf.search import Candidate
from icefloe.ctf.spectrum import Spectrum
from icefloe.optics import CtfParameters, defocus_at_angle, phase_aberration

CROSS = 10


def correlation_fit(
    spectrum: Spectrum, start: CtfParameters, low: float = 30.0, high: float = 5.0, power: int = 1
) -> CtfParameters:
    """Return the parameters near `start` with the best correlation with ``|CTF|^power``."""
    n = spectrum.size
    amplitude = spectrum.centred().astype(np.float64)
    width = int(n * spectrum.pixel_size / low * np.sqrt(2)) | 1
    flat = np.fft.ifftshift(amplitude - uniform_filter(amplitude, width, mode="wrap"))
    ky, kx = spectrum.frequencies()
    step = 1 / (n * spectrum.pixel_size)
    k = np.hypot(ky, kx)
    keep = (k > 1 / low) & (k < 1 / high)
    keep &= (np.abs(ky) > (CROSS + 0.5) * step) & (kx > (CROSS + 0.5) * step)
    k2 = (k * k)[keep]
    azimuth = np.arctan2(*np.broadcast_arrays(ky, kx))[keep]
    data = flat[:, : n // 2 + 1][keep]
    data = data - data.mean()

    def parameters(x: FloatArray) -> CtfParameters:
        half = float(np.hypot(x[1], x[2]))
        angle = 0.5 * float(np.degrees(np.arctan2(x[2], x[1])))
        return CtfParameters(
            x[0] + half, x[0] - half, angle, start.voltage, start.cs, start.amplitude_contrast
        )

    def cost(x: FloatArray) -> float:
        p = parameters(x)
        model = np.abs(np.sin(phase_aberration(p, k2, defocus_at_angle(p, azimuth)))) ** power
        return -float(data @ model) / float(np.sqrt((model @ model) * (data @ data)))

    half = 0.5 * start.astigmatism
    angle = 2 * np.radians(start.defocus_angle)
    first = np.array([start.defocus, half * np.cos(angle), half * np.sin(angle)])
    simplex = first + np.vstack([np.zeros(3), 150 * np.eye(3)])
    found = minimize(
        cost, first, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 0.5}
    )
    return parameters(found.x).normalised()


def vector(p: CtfParameters) -> complex:
    """Return the astigmatism as a vector at twice its angle, A."""
    return complex(p.astigmatism * np.exp(2j * np.radians(p.defocus_angle)))


def own_fit(spectrum: Spectrum, optics: CtfParameters) -> CtfParameters:
    """Return what `estimate_ctf` finds in the same range as the other estimator, 30 to 5 A."""
    return estimate_ctf_from_spectrum(
        spectrum.centred(),
        pixel_size=spectrum.pixel_size,
        voltage=optics.voltage,
        cs=optics.cs,
        amplitude_contrast=optics.amplitude_contrast,
        settings=CtfSettings(extend_range=False),
    ).parameters


def real() -> None:
    """Print both estimators' differences to CTFFIND 4.1.14."""
    from icefloe.formats import read_image

    print("real micrographs: difference of the astigmatism to CTFFIND 4.1.14, A (axis, degrees)")
    print("micrograph        CTFFIND   icefloe        correlation")
    with (REAL / "ctf_reference.csv").open() as handle:
        reference = [r for r in csv.DictReader(handle) if r["program"] == "CTFFIND 4.1.14"]
    for row in reference:
        image = read_image(REAL / f"{row['micrograph']}.png").data
        spectrum = power_spectrum(image, 1.5, 512)
        u, v = float(row["defocus_u_A"]), float(row["defocus_v_A"])
        angle = float(row["astigmatism_angle_deg"])
        own = own_fit(spectrum, CtfParameters(u, v, angle, 300, 0.0, 0.07))
        other = correlation_fit(spectrum, own)
        print(
            f"{row['micrograph']:16} {u - v:8.0f} "
            + " ".join(
                f"{p.astigmatism - (u - v):8.0f} ({turn(p.defocus_angle, angle):4.1f})"
                for p in (own, other)
            )
        )


def quarters() -> None:
    """Print the scatter of both estimators between quarters of the real micrographs."""
    from icefloe.formats import read_image

    optics, settings = Optics(300.0, 0.0, 0.07), CtfSettings()
    squares: dict[str, list[float]] = {"icefloe": [], "correlation": []}
    for path in sorted(REAL.glob("*.png")):
        image = read_image(path).data
        whole = own_fit(power_spectrum(image, 1.5, 512), CtfParameters(0, 0, 0, 300, 0.0, 0.07))
        start = Candidate(
            whole.defocus, whole.astigmatism, np.radians(whole.defocus_angle), 0.0, 1.0
        )
        found: dict[str, list[complex]] = {name: [] for name in squares}
        ny, nx = (n // 2 for n in image.shape)
        for y, x in ((0, 0), (0, nx), (ny, 0), (ny, nx)):
            spectrum = power_spectrum(image[y : y + ny, x : x + nx], 1.5, 512)
            samples = take_samples(spectrum, 30.0, 5.0)
            found["icefloe"].append(vector(refine(samples, optics, start, settings).parameters))
            found["correlation"].append(vector(correlation_fit(spectrum, whole)))
        for name, values in found.items():
            # Variance per component of the mean of four.
            squares[name].append(float(np.var(values, ddof=1)) / 2 / 4)
    print("\nscatter between quarters of the real micrographs, per component, of their mean, A")
    for name, variances in squares.items():
        print(f"{name:12} {np.sqrt(np.mean(variances)):6.1f}")


def simulated(n: int = 40) -> None:
    """Print both estimators' errors on spectra like those of the real micrographs."""
    rng = np.random.default_rng(0)
    errors: dict[str, list[float]] = {"icefloe": [], "correlation": [], "between": []}
    for i in range(n):
        half, angle = rng.uniform(50, 500), rng.uniform(-90, 90)
        p = CtfParameters(19000 + half, 19000 - half, angle, 300, 0.0, 0.07)
        spectrum = spectrum_of(Case(p, 0.55, 30.0, 1830.0, 120.0), i)
        own = own_fit(spectrum, p)
        fits = {"icefloe": own, "correlation": correlation_fit(spectrum, own)}
        for name, q in fits.items():
            errors[name].append(abs(vector(q) - vector(p)) / np.sqrt(2))
        errors["between"].append(abs(vector(own) - vector(fits["correlation"])) / np.sqrt(2))
    print(f"\n{n} simulated spectra: astigmatism, root mean square error per component, A")
    for name, values in errors.items():
        print(f"{name:12} {np.sqrt(np.mean(np.square(values))):6.1f}")


if __name__ == "__main__":
    steps: list[Callable[[], None]] = [simulated]
    if REAL.is_dir():
        steps = [real, quarters, simulated]
    for run in steps:
        run()
