"""How exact and how fast the CTF fit is: `python benchmarks/ctf.py [--quick]`.

Real micrographs are compared with CTFFIND (../shared/data/apoferritin-10146, left out where it is
absent), simulated ones with the truth, for two ways to make the spectrum: the whole frame
smoothed by a lag window (what `estimate_ctf` does) and overlapping tiles.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf import CtfSettings, estimate_ctf_from_spectrum, power_spectrum
from icefloe.ctf.spectrum import Spectrum, tiled_power_spectrum
from icefloe.fourier import irfft2, rfft2
from icefloe.optics import CtfParameters, ctf_2d

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "apoferritin-10146"
WAYS: dict[str, Callable[..., Spectrum]] = {
    "frame": power_spectrum,
    "tiles": tiled_power_spectrum,
}


def fit(
    way: str, image: FloatArray, pixel_size: float, extend: bool = True, **optics: Any
) -> tuple[Any, float]:
    """Return the result of one micrograph and the seconds it took."""
    begin = time.perf_counter()
    spectrum = WAYS[way](image, pixel_size, CtfSettings().box)
    result = estimate_ctf_from_spectrum(
        spectrum.centred(),
        pixel_size=spectrum.pixel_size,
        settings=CtfSettings(extend_range=extend),
        **optics,
    )
    return result, time.perf_counter() - begin


def turn(a: float, b: float) -> float:
    """Return the difference of two axes, degrees."""
    return abs((a - b + 90) % 180 - 90)


def real(way: str, extend: bool) -> list[dict[str, float | str]]:
    """Return the differences to CTFFIND 4.1.14, which fitted 30 to 5 A, on the real micrographs."""
    from icefloe.formats import read_image

    rows: list[dict[str, float | str]] = []
    with (REAL / "ctf_reference.csv").open() as handle:
        reference = [r for r in csv.DictReader(handle) if r["program"] == "CTFFIND 4.1.14"]
    for ref in reference:
        image = read_image(REAL / f"{ref['micrograph']}.png").data
        result, seconds = fit(way, image, 1.5, extend, cs=0.0, amplitude_contrast=0.07)
        p = result.parameters
        u, v = float(ref["defocus_u_A"]), float(ref["defocus_v_A"])
        rows.append(
            {
                "name": ref["micrograph"],
                "defocus": p.defocus,
                "defocus difference": p.defocus - 0.5 * (u + v),
                "astigmatism": u - v,
                "astigmatism difference": p.astigmatism - (u - v),
                "angle difference": turn(p.defocus_angle, float(ref["astigmatism_angle_deg"])),
                "error": result.defocus_error,
                "merit ratio": result.figure_of_merit / float(ref["cross_correlation"]),
                "resolution": result.fit_resolution,
                "resolution by its rule": result.fit_resolution_ctffind,
                "resolution of CTFFIND": float(ref["fit_resolution_A"]),
                "seconds": seconds,
            }
        )
    return rows


def scene(p: CtfParameters, size: int, pixel_size: float, signal: float, seed: int) -> FloatArray:
    """Return a random object behind a CTF, with white noise."""
    rng = np.random.default_rng(seed)
    ky = np.fft.fftfreq(size, pixel_size)[:, None]
    kx = np.fft.rfftfreq(size, pixel_size)[None, :]
    k2 = ky**2 + kx**2
    structure = np.sqrt(1 + 250 * np.exp(-3000 * k2)) * np.exp(-15 * k2)
    field = rng.standard_normal((size, size), dtype=np.float32)
    noise = rng.standard_normal((size, size), dtype=np.float32)
    transfer = ctf_2d(p, (size, size), pixel_size) * structure
    return np.asarray(
        noise + signal * irfft2(rfft2(field) * transfer, (size, size)), dtype=np.float32
    )


def simulated(
    way: str, *, size: int, pixel_size: float, signal: float, n: int
) -> list[dict[str, float]]:
    """Return the errors on simulated micrographs of 0.5 to 4 um."""
    rows = []
    for i, defocus in enumerate(np.linspace(5200, 40000, n)):
        rng = np.random.default_rng(i)
        half, angle = rng.uniform(0, 300), rng.uniform(-90, 90)
        p = CtfParameters(defocus + half, defocus - half, angle, 300, 2.7, 0.07)
        image = scene(p, size, pixel_size, signal, i)
        result, seconds = fit(way, image, pixel_size, amplitude_contrast=0.07)
        q = result.parameters
        vectors = [r.astigmatism * np.exp(2j * np.radians(r.defocus_angle)) for r in (p, q)]
        rows.append(
            {
                "defocus": defocus,
                "defocus error": q.defocus - defocus,
                "stated error": result.defocus_error,
                "astigmatism error": float(abs(vectors[0] - vectors[1])),
                "snr": result.snr,
                "seconds": seconds,
            }
        )
    return rows


def root_mean_square(rows: list[dict[str, Any]], key: str) -> float:
    return float(np.sqrt(np.mean([row[key] ** 2 for row in rows])))


def run(quick: bool = False) -> dict[str, Any]:
    """Run everything, print the tables, and return their rows."""
    out: dict[str, Any] = {}
    if REAL.is_dir():
        for way, extend in (("frame", False), ("frame", True), ("tiles", False)):
            reach = "to the last rings" if extend else "30 to 5 A"
            rows = out[f"real {way} {reach}"] = real(way, extend)
            print(f"\nreal micrographs, {way}, {reach}: differences to CTFFIND 4.1.14")
            print(
                "name              defocus  +-    dD    ast   dA  angle  merit   fit  rule  CTFFIND"
            )
            for r in rows:
                print(
                    f"{r['name']:16} {r['defocus']:8.0f} {r['error']:3.0f} "
                    f"{r['defocus difference']:5.0f} {r['astigmatism']:6.0f} "
                    f"{r['astigmatism difference']:4.0f} {r['angle difference']:6.1f} "
                    f"{r['merit ratio']:6.2f} {r['resolution']:5.2f} "
                    f"{r['resolution by its rule']:5.2f} "
                    f"{r['resolution of CTFFIND']:8.2f}"
                )
            clear = [r for r in rows if float(r["astigmatism"]) > 300]
            d = np.abs([float(r["defocus difference"]) for r in rows])
            a = np.abs([float(r["astigmatism difference"]) for r in rows])
            t = np.array([float(r["angle difference"]) for r in clear])
            print(
                f"defocus: median {np.median(d):.0f}, largest {d.max():.0f} A; astigmatism: "
                f"median {np.median(a):.0f}, largest {a.max():.0f} A; axis where above 300 A: "
                f"median {np.median(t):.1f}, largest {t.max():.1f} degrees"
            )
    cases: list[dict[str, Any]] = [
        {"size": 1536, "pixel_size": 1.3, "signal": 0.6},
        {"size": 1536, "pixel_size": 1.3, "signal": 1.2},
        {"size": 4096, "pixel_size": 1.0, "signal": 0.6},
    ]
    for case in cases[:2] if quick else cases:
        for way in WAYS:
            rows = out[f"{case} {way}"] = simulated(way, n=4 if quick else 8, **case)
            keys = ("defocus error", "stated error", "astigmatism error")
            defocus, stated, astigmatism = (root_mean_square(rows, key) for key in keys)
            print(
                f"\nsimulated, {case['size']} pixels of {case['pixel_size']} A, signal "
                f"{case['signal']}, {way}: defocus error {defocus:.1f} "
                f"(stated {stated:.1f}) A, astigmatism error {astigmatism:.1f} A, signal to noise "
                f"{np.mean([r['snr'] for r in rows]):.0f}, fastest "
                f"{min(r['seconds'] for r in rows):.2f} s"
            )
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer simulated micrographs")
    run(parser.parse_args().quick)
