"""What the fit says about images without Thon rings, and about searches in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ctf_micrographs import thon_micrograph
from icefloe._types import FloatArray
from icefloe.ctf import NO_RINGS, CtfResult, CtfSettings, estimate_ctf
from icefloe.optics import CtfParameters

P = CtfParameters(15200, 14800, 30, 300, 2.7, 0.07)
NOISE, EDGE = "nothing but noise", "a strong edge"


def filtered(transfer: FloatArray, seed: int = 0) -> FloatArray:
    """Return noise of the size (640, 640) behind a transfer function."""
    shape = (640, 640)
    field = np.fft.rfft2(np.random.default_rng(seed).standard_normal(shape)) * transfer
    return np.asarray(np.fft.irfft2(field, s=shape))


def discs(radius: int, size: int, number: int) -> FloatArray:
    """Return noise with discs, whose form factor makes rings without any CTF."""
    rng = np.random.default_rng(3)
    image = rng.standard_normal((size, size))
    y, x = np.mgrid[:size, :size]
    for cy, cx in rng.integers(0, size, (number, 2)):
        image[np.hypot(y - cy, x - cx) < radius] -= 1.5
    return np.asarray(image)


def unusable() -> Iterator[tuple[str, FloatArray, str]]:
    rng = np.random.default_rng(9)
    shape = (640, 640)
    noise = rng.standard_normal(shape)
    y, x = np.mgrid[:640, :640]
    k = np.hypot(np.fft.fftfreq(640)[:, None], np.fft.rfftfreq(640)[None, :])
    yield "noise", noise, NOISE
    yield "counts", rng.poisson(20, shape).astype(float), NOISE
    ring = np.exp(-(((k - 1 / 3.7) / 0.02) ** 2))
    yield "ice ring", filtered(1 + 1.5 * ring), ""
    yield "steep spectrum", filtered(1 / (k + 0.002)), ""
    yield "grid bar", np.where(x < 200, 3 * noise + 15, noise), EDGE
    yield "gradient", noise + 0.2 * x, EDGE
    crystal = sum(
        np.cos(2 * np.pi / 3.67 * (np.cos(t) * x + np.sin(t) * y)) for t in (0.4, 1.45, 2.5)
    )
    yield "crystalline ice", noise + 0.5 * crystal, "lattice spots of crystalline ice"
    yield "discs in focus", discs(40, 640, 25), ""
    # Their form factor alone fits a CTF with a signal to noise of 14.
    yield "large discs", discs(60, 1024, 60), ""
    sharp = thon_micrograph(P, shape=shape, seed=9)
    # A drift of 40 A during the exposure leaves no rings along it, and few across.
    drifted = sum(np.roll(sharp, (d, d // 2), axis=(0, 1)) for d in range(0, 40, 2))
    yield "drifted away", np.asarray(drifted + 40 * noise), ""


@pytest.mark.parametrize(("name", "image", "cause"), list(unusable()))
def test_images_without_rings_are_flagged(name: str, image: FloatArray, cause: str) -> None:
    result = estimate_ctf(image.astype(np.float32), pixel_size=1.0)
    assert result.flags[0] == NO_RINGS
    assert result.failed
    assert any(flag.startswith(cause) for flag in result.flags)
    numbers = result.numbers()
    assert numbers["defocus_u"] is None
    assert numbers["figure_of_merit"] is None
    assert numbers["defocus_error"] is None


def fitted(settings: CtfSettings, p: CtfParameters = P, signal: float = 1.0) -> CtfResult:
    image = thon_micrograph(p, shape=(800, 800), seed=8, signal=signal)
    return estimate_ctf(image, pixel_size=1.0, amplitude_contrast=0.07, settings=settings)


@pytest.mark.parametrize(
    ("low", "high", "limit"), [(20000, 50000, "defocus_min"), (5000, 11000, "defocus_max")]
)
def test_defocus_outside_the_search_is_named(low: float, high: float, limit: str) -> None:
    result = fitted(CtfSettings(defocus_min=low, defocus_max=high))
    assert result.failed
    (advice,) = result.advice
    assert f"set {limit} to" in advice
    # The advice is right: followed, it finds the rings.
    value = float(advice.split()[-2])
    found = fitted(CtfSettings(**{"defocus_min": low, "defocus_max": high, limit: value}))
    assert found.flags == ()
    assert found.parameters.defocus == pytest.approx(15000, abs=60)


def test_a_fit_at_the_limit_says_which_one_to_widen() -> None:
    result = fitted(CtfSettings(defocus_min=5000, defocus_max=14950))
    assert "defocus at the limit of the search" in result.flags or result.failed
    assert "defocus_max" in result.advice[0]


def test_a_phase_plate_that_was_not_asked_for_is_noticed() -> None:
    p = CtfParameters(12100, 11900, 0, 300, 2.7, 0.07, 80)
    result = fitted(CtfSettings(), p, signal=1.5)
    assert result.flags
    assert "phase_shift" in result.advice[0]
    assert fitted(CtfSettings(phase_shift=True), p, signal=1.5).flags == ()


def test_crystalline_ice_is_flagged_beside_good_rings() -> None:
    image = thon_micrograph(P, shape=(800, 800), seed=8)
    y, x = np.mgrid[:800, :800]
    for t in (0.4, 1.45, 2.5):
        image += np.float32(0.7) * np.cos(
            2 * np.pi / 3.67 * (np.cos(t) * x + np.sin(t) * y), dtype=np.float32
        )
    result = estimate_ctf(image, pixel_size=1.0, amplitude_contrast=0.07)
    assert result.flags == ("lattice spots of crystalline ice",)
    assert result.parameters.defocus == pytest.approx(15000, abs=60)


def test_rings_in_one_direction_only_are_called_drift() -> None:
    sharp = thon_micrograph(P, shape=(900, 900), seed=8, signal=3.0)
    noise = np.random.default_rng(1).standard_normal(sharp.shape)
    # Drift along y by 16 A: rings remain within some degrees of the x axis.
    drifted = sum(np.roll(sharp, d, axis=0) for d in range(16)) / 16 + 0.4 * noise
    result = estimate_ctf(drifted.astype(np.float32), pixel_size=1.0, amplitude_contrast=0.07)
    assert "rings in one direction only: drift" in result.flags


@pytest.mark.parametrize("angle", [20.0, 65.0, 130.0])
def test_structure_that_drift_has_left_in_one_direction_is_named(angle: float) -> None:
    size = 900
    ky, kx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    k2 = ky**2 + kx**2
    along = kx * np.cos(np.radians(angle)) + ky * np.sin(np.radians(angle))
    rng = np.random.default_rng(4)
    field = np.fft.rfft2(rng.standard_normal((size, size)))
    # Structure without rings, in ice so thick that noise drowns it beyond 10 A.
    scene = field * np.sqrt(1 + 40 * np.exp(-1500 * k2))

    def fitted_flags(drift: float) -> tuple[str, ...]:
        blurred = np.fft.irfft2(scene * np.sinc(drift * along), s=(size, size))
        image = blurred + rng.standard_normal((size, size))
        return estimate_ctf(image.astype(np.float32), pixel_size=1.0).flags

    name = "structure in one direction only: drift, or an edge across the view"
    assert name in fitted_flags(60.0)
    assert not any("direction" in flag for flag in fitted_flags(0.0))


def test_rings_too_narrow_for_the_box_ask_for_a_larger_one() -> None:
    p = CtfParameters(45100, 44900, 0, 300, 2.7, 0.07)
    small = fitted(CtfSettings(box=384), p, signal=2.0)
    assert small.aliasing_resolution > 5
    assert any("box of" in text for text in small.advice)
    wanted = next(int(t.split()[-2]) for t in small.advice if "box of" in t)
    large = fitted(CtfSettings(box=wanted), p, signal=2.0)
    assert not any("box of" in text for text in large.advice)
