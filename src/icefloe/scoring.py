"""How far a result is from the truth: motion, CTF, picks, gain, image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icefloe._types import FloatArray
from icefloe.fourier import irfft2, rfft2, rotational_average, shift_phases

if TYPE_CHECKING:
    from icefloe.optics import CtfParameters

__all__ = [
    "CtfScore",
    "Field",
    "MotionScore",
    "PickScore",
    "ctf_error",
    "estimate_shift",
    "gain_correlation",
    "match_picks",
    "pool_picks",
    "residual_motion",
    "score_picks",
    "spectral_snr",
]


class Field(Protocol):
    """Motion: anything that tells the displacement at a frame and a place."""

    def displacement(self, frame: ArrayLike, y: ArrayLike, x: ArrayLike, /) -> FloatArray:
        """Return (..., 2), pixels (dy, dx)."""
        ...


@dataclass(frozen=True)
class MotionScore:
    """Error of an estimated motion, pixels, RMS over frames and field; `float()` gives `total`.

    Attributes
    ----------
    total
        All of it: ``total^2 = whole_frame^2 + local^2``.
    whole_frame
        The part that is the same all over the frame.
    local
        The rest.
    input_motion
        What the same measure gives for no correction at all.
    """

    total: float
    whole_frame: float
    local: float
    input_motion: float

    def __float__(self) -> float:
        return self.total


def residual_motion(
    truth: Field, estimate: Field, shape: tuple[int, int], n_frames: int, grid: int = 9
) -> MotionScore:
    """Return how far an estimated motion is from the true one.

    A constant over the frames at a place only moves the image there, and is taken off.

    Parameters
    ----------
    truth, estimate
        Objects with ``displacement(frame, y, x)``.
    shape
        Frame size (ny, nx).
    n_frames
        Frames 0 to n_frames - 1 are compared.
    grid
        Places per axis, at the centres of equal cells.
    """
    frame = np.arange(n_frames)[:, None, None]
    y, x = ((np.arange(grid) + 0.5) * n / grid - 0.5 for n in shape)
    true = np.asarray(truth.displacement(frame, y[:, None], x[None, :]), dtype=np.float64)
    found = np.asarray(estimate.displacement(frame, y[:, None], x[None, :]), dtype=np.float64)
    total, whole, local = _motion_parts(found - true)
    return MotionScore(total, whole, local, _motion_parts(true)[0])


def _motion_parts(difference: FloatArray) -> tuple[float, float, float]:
    difference = difference - difference.mean(axis=0)
    whole = difference.mean(axis=(1, 2))
    local = difference - whole[:, None, None]

    def rms(values: FloatArray) -> float:
        return float(np.sqrt(np.mean(np.sum(values**2, axis=-1))))

    return rms(difference), rms(whole), rms(local)


@dataclass(frozen=True)
class CtfScore:
    """Error of a CTF estimate.

    Attributes
    ----------
    defocus_error
        Found minus true mean defocus, A.
    astigmatism_error
        Length, A, of the difference of the vectors (U - V) (cos 2a, sin 2a).
    angle_error
        Difference of the azimuths, degrees, 0 to 90; meaningless without astigmatism.
    phase_shift_error
        Found minus true, degrees.
    """

    defocus_error: float
    astigmatism_error: float
    angle_error: float
    phase_shift_error: float


def ctf_error(truth: CtfParameters, found: CtfParameters) -> CtfScore:
    """Return the error of the CTF `found`."""

    def vector(p: CtfParameters) -> complex:
        return complex((p.defocus_u - p.defocus_v) * np.exp(2j * np.deg2rad(p.defocus_angle)))

    t, f = truth.normalised(), found.normalised()
    angle = abs((f.defocus_angle - t.defocus_angle + 90.0) % 180.0 - 90.0)
    return CtfScore(
        defocus_error=f.defocus - t.defocus,
        astigmatism_error=abs(vector(f) - vector(t)),
        angle_error=angle,
        phase_shift_error=f.phase_shift - t.phase_shift,
    )


@dataclass(frozen=True)
class PickScore:
    """Quality of picks.

    Attributes
    ----------
    average_precision
        Area under precision over recall, as steps.
    precision, recall, f1
        With all picks.
    best_f1, best_threshold
        The best F1 of any score threshold, and that threshold: keep scores >= it.
    n_found, n_truth, n_matched
        Counts.
    """

    average_precision: float
    precision: float
    recall: float
    f1: float
    best_f1: float
    best_threshold: float
    n_found: int
    n_truth: int
    n_matched: int


def match_picks(
    found_yx: ArrayLike, found_scores: ArrayLike, truth_yx: ArrayLike, distance: float
) -> NDArray[np.int64]:
    """Return for each pick the index of the true particle it matches, or -1.

    Picks take turns by descending score (equal scores: in order); each takes the nearest
    particle within `distance` that no pick before it took.
    """
    from scipy.spatial import cKDTree

    found = np.asarray(found_yx, dtype=np.float64).reshape(-1, 2)
    truth = np.asarray(truth_yx, dtype=np.float64).reshape(-1, 2)
    scores = np.asarray(found_scores, dtype=np.float64).reshape(-1)
    if len(scores) != len(found):
        raise ValueError(f"{len(found)} picks have {len(scores)} scores")
    match = np.full(len(found), -1, dtype=np.int64)
    if not len(found) or not len(truth):
        return match
    near = cKDTree(truth).query_ball_point(found, distance)
    free = np.ones(len(truth), dtype=bool)
    for pick in np.argsort(-scores, kind="stable"):
        candidates = [t for t in near[pick] if free[t]]
        if candidates:
            gaps = np.hypot(*(truth[candidates] - found[pick]).T)
            best = candidates[int(np.argmin(gaps))]
            match[pick], free[best] = best, False
    return match


def score_picks(
    found_yx: ArrayLike, found_scores: ArrayLike, truth_yx: ArrayLike, distance: float
) -> PickScore:
    """Compare picks with true particles.

    Parameters
    ----------
    found_yx
        (n, 2), pixels.
    found_scores
        (n,), larger is surer.
    truth_yx
        (m, 2), pixels.
    distance
        Largest distance, pixels, of a pick from its particle; usually 0.3 diameters.
    """
    return pool_picks([(found_yx, found_scores, truth_yx)], distance)


def pool_picks(
    sets: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]], distance: float
) -> PickScore:
    """Compare the picks of several micrographs, (found_yx, scores, truth_yx) each, as one set."""
    hits_list, scores_list, n_truth = [np.zeros(0, bool)], [np.zeros(0)], 0
    for found, values, truth in sets:
        hits_list.append(match_picks(found, values, truth, distance) >= 0)
        scores_list.append(np.asarray(values, dtype=np.float64).reshape(-1))
        n_truth += len(np.asarray(truth).reshape(-1, 2))
    hits, scores = np.concatenate(hits_list), np.concatenate(scores_list)
    order = np.argsort(-scores, kind="stable")
    hits, scores = hits[order], scores[order]
    n = len(hits)
    if not n or not n_truth:
        return PickScore(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, n, n_truth, 0)
    right = np.cumsum(hits)
    # Picks of equal score are kept or left together.
    ends = np.append(np.nonzero(np.diff(scores))[0], n - 1)
    precision, recall = right[ends] / (ends + 1), right[ends] / n_truth
    f1 = 2 * right[ends] / (ends + 1 + n_truth)
    best = int(np.argmax(f1))
    return PickScore(
        average_precision=float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        precision=float(precision[-1]),
        recall=float(recall[-1]),
        f1=float(f1[-1]),
        best_f1=float(f1[best]),
        best_threshold=float(scores[ends[best]]),
        n_found=n,
        n_truth=n_truth,
        n_matched=int(right[-1]),
    )


def gain_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Return Pearson's correlation of two gains over the pixels that neither calls dead (0)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"gains of {a.shape} and {b.shape} cannot be compared")
    good = (a > 0) & (b > 0)
    x, y = a[good] - a[good].mean(), b[good] - b[good].mean()
    norm = float(np.sqrt(np.sum(x * x) * np.sum(y * y)))
    return float(np.sum(x * y)) / norm if norm else 0.0


def estimate_shift(image: FloatArray, reference: FloatArray) -> tuple[float, float]:
    """Return (dy, dx), pixels, by which `image` is moved against `reference`.

    The peak of their cross-correlation, refined on the correlation's own Fourier series.
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    cross = rfft2(image.astype(np.float64)) * np.conj(rfft2(reference.astype(np.float64)))
    cross[0, 0] = 0
    surface = irfft2(cross, shape)
    peak = np.array(np.unravel_index(int(np.argmax(surface)), shape), dtype=np.float64)
    size = np.array(shape)
    peak = np.where(peak > size // 2, peak - size, peak)
    step = 0.5
    offsets = np.array([-1.0, 0.0, 1.0])
    while step > 0.01:
        values = _series(cross, shape, peak[0] + step * offsets, peak[1] + step * offsets)
        row, column = np.unravel_index(int(np.argmax(values)), values.shape)
        if row == column == 1:
            step /= 2
        peak = peak + step * (np.array([row, column]) - 1)
    return float(peak[0]), float(peak[1])


def _series(
    spectrum: FloatArray, shape: tuple[int, int], y: FloatArray, x: FloatArray
) -> FloatArray:
    """Return the image of a half-plane spectrum at fractional rows y and columns x."""
    ky, kx = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    twice = np.full(len(kx), 2.0)
    twice[0] = 1
    left = np.exp(2j * np.pi * y[:, None] * ky)
    right = np.exp(2j * np.pi * kx[:, None] * x) * twice[:, None]
    return np.asarray((left @ (spectrum @ right)).real)


def spectral_snr(
    image: FloatArray, clean: FloatArray, pixel_size: float, n_shells: int = 64
) -> tuple[FloatArray, FloatArray]:
    """Return the signal-to-noise ratio of an image in shells of frequency.

    ``C^2 / (1 - C^2)`` with C the shell's correlation with the noise-free image. It does not
    depend on how either is scaled or filtered by a function of frequency.

    Parameters
    ----------
    image
        (ny, nx), with noise.
    clean
        (ny, nx), noise-free; a constant shift against `image` is found and undone.
    pixel_size
        A.
    n_shells
        Shells from 0 to Nyquist.

    Returns
    -------
    frequency : ndarray
        (n_shells,), 1/A.
    snr : ndarray
        (n_shells,), power ratios; 0 where the correlation is negative. A shell of n
        coefficients cannot tell a ratio below about 1 / n from none.
    """
    shape = (int(image.shape[0]), int(image.shape[1]))
    window = _taper(shape)
    a = (image - np.mean(image, dtype=np.float64)) * window
    b = (clean - np.mean(clean, dtype=np.float64)) * window
    shift = estimate_shift(a, b)
    fa, fb = rfft2(a), shift_phases(rfft2(b), shape, np.array(shift))
    sums = np.stack([(fa * np.conj(fb)).real, np.abs(fa) ** 2, np.abs(fb) ** 2])
    frequency, (cross, power_a, power_b) = rotational_average(sums, shape, n_shells)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.clip(np.nan_to_num(cross / np.sqrt(power_a * power_b)), 0, 1 - 1e-12)
    return frequency / pixel_size, correlation**2 / (1 - correlation**2)


def _taper(shape: tuple[int, int]) -> FloatArray:
    """Return a window that falls to zero over 5 % at each edge, against edge streaks."""
    from scipy.signal.windows import tukey

    return np.asarray(np.outer(tukey(shape[0], 0.1), tukey(shape[1], 0.1)))
