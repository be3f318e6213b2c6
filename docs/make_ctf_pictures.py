"""Draws docs/figures/ctf-picture-*.png: the pictures that `icefloe ctf` writes.

Three real micrographs (../shared/data) and a simulated one that a drift has ruined:
`python docs/make_ctf_pictures.py`. Chromium turns the SVG into PNG.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from icefloe._types import FloatArray
from icefloe.cli.ctf_pictures import ctf_picture
from icefloe.ctf import CtfSettings, estimate_ctf
from icefloe.formats import read_image
from icefloe.fourier import irfft2, rfft2
from icefloe.optics import CtfParameters, ctf_2d

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "apoferritin-10146"
NAMES = ("May08_03.05.02", "May08_03.15.02", "May08_07.30.46")
DRIFT = 40.0


def drifted(pixel_size: float = 1.3, size: int = 1400) -> FloatArray:
    """Return noise and an object at 1.8 um that moved evenly by 40 A along x and 20 A along y."""
    rng = np.random.default_rng(7)
    ky = np.fft.fftfreq(size, pixel_size)[:, None]
    kx = np.fft.rfftfreq(size, pixel_size)[None, :]
    k2 = ky**2 + kx**2
    structure = np.sqrt(1 + 250 * np.exp(-3000 * k2)) * np.exp(-15 * k2)
    transfer = ctf_2d(CtfParameters(18300, 17700, 20), (size, size), pixel_size) * structure
    transfer = transfer * np.sinc(DRIFT * kx + 0.5 * DRIFT * ky)
    scattered = rfft2(rng.standard_normal((size, size), dtype=np.float32)) * transfer
    noise = rng.standard_normal((size, size), dtype=np.float32)
    return np.asarray(noise + 1.2 * irfft2(scattered, (size, size)), dtype=np.float32)


def draw(name: str, image: FloatArray, pixel_size: float, target: Path, **optics: Any) -> None:
    settings = CtfSettings()
    result = estimate_ctf(image, pixel_size=pixel_size, settings=settings, **optics)
    print(name, result.flags, result.advice)
    svg = ctf_picture(name, result, settings)
    to_png(svg, target)


def to_png(svg: bytes, target: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is needed to turn SVG into PNG")
    root = ET.fromstring(svg)
    size = ",".join(str(round(float(root.get(key, "0")))) for key in ("width", "height"))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "picture.html"
        page.write_bytes(b'<body style="margin:0">' + svg)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        subprocess.run(
            [browser, *options, f"--window-size={size}", f"--screenshot={target}", str(page)],
            check=True,
            capture_output=True,
            timeout=120,
        )
    with Image.open(target) as picture:
        small = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    small.save(target, optimize=True)


def main() -> None:
    figures = ROOT / "docs" / "figures"
    for i, name in enumerate(NAMES, 1):
        image = read_image(REAL / f"{name}.png").data
        target = figures / f"ctf-picture-{i}.png"
        draw(name, image, 1.5, target, cs=0.0, amplitude_contrast=0.07)
    draw("drifted by 45 A (simulated)", drifted(), 1.3, figures / "ctf-picture-drift.png")


if __name__ == "__main__":
    main()
