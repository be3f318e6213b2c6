"""The simulator's compiled loops.

Every row has its own random stream, made from a key and the row's number, and every output pixel
is written by one thread: the bytes do not depend on the number of threads.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from icefloe._types import AnyArray, ComplexArray, FloatArray

__all__ = [
    "GOLDEN",
    "average_walk",
    "frame_spectrum",
    "mix",
    "pack_discs",
    "poisson_counts",
    "random_coefficients",
    "sample_spline",
    "stamp_atoms",
    "stream",
]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_S16, _S32, _S48, _LOW = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(0xFFFF)
# The sum of two uniform numbers in 0..65535 has the variance (65536^2 - 1) / 6.
_SPREAD = np.float32(math.sqrt(6.0 / (65536.0**2 - 1)))


@njit(cache=True, nogil=True, inline="always")
def mix(z: Any) -> Any:
    """SplitMix64's output function (Steele, Lea & Flood 2014)."""
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@njit(cache=True, nogil=True, inline="always")
def stream(key: int, row: int) -> Any:
    """Return the state from which the random numbers of a row begin."""
    return mix(mix(np.uint64(key) + GOLDEN) ^ (np.uint64(row + 1) * GOLDEN))


@njit(cache=True, nogil=True, inline="always")
def _two_uniform_sums(bits: Any) -> Any:
    """Return two independent numbers of mean 0 and variance 1 from 64 random bits.

    Each is the sum of two uniform ones: not normal, but an image, a sum over many coefficients,
    is Gaussian all the same.
    """
    first = np.int64(bits & _LOW) + np.int64((bits >> _S16) & _LOW) - 65535
    second = np.int64((bits >> _S32) & _LOW) + np.int64(bits >> _S48) - 65535
    return _SPREAD * np.float32(first), _SPREAD * np.float32(second)


@njit(cache=True, nogil=True, parallel=True)
def random_coefficients(out: ComplexArray, key: int) -> None:
    """Fill (ny, nx) complex64 with random numbers of variance 1 in each part."""
    rows, columns = out.shape
    for row in prange(rows):
        s = stream(key, row)
        for column in range(columns):
            s += GOLDEN
            real, imaginary = _two_uniform_sums(mix(s))
            out[row, column] = complex(real, imaginary)


@njit(cache=True, nogil=True, parallel=True)
def average_walk(
    state: ComplexArray,
    keep: FloatArray,
    share: FloatArray,
    bridge: FloatArray,
    key: int,
    out: ComplexArray,
) -> None:
    """Let random coefficients wander for one exposure, and average them over it.

    An Ornstein-Uhlenbeck step ``new = keep * old + sqrt(1 - keep^2) * w``; given both ends, the
    average on the way is ``share * (old + new)`` with an independent spread of ``bridge``.

    Parameters
    ----------
    state
        (ny, nx) complex64, replaced by the state at the end.
    keep, share, bridge
        (ny, nx) float32.
    key
        Random key.
    out
        (ny, nx) complex64, the average.
    """
    rows, columns = out.shape
    for row in prange(rows):
        s = stream(key, row)
        for column in range(columns):
            s += GOLDEN
            real, imaginary = _two_uniform_sums(mix(s))
            s += GOLDEN
            more_real, more_imaginary = _two_uniform_sums(mix(s))
            rho = keep[row, column]
            fresh = np.float32(math.sqrt(max(np.float32(0.0), np.float32(1.0) - rho * rho)))
            old = state[row, column]
            new = np.complex64(
                complex(rho * old.real + fresh * real, rho * old.imag + fresh * imaginary)
            )
            part, spread = share[row, column], bridge[row, column]
            out[row, column] = complex(
                part * (old.real + new.real) + spread * more_real,
                part * (old.imag + new.imag) + spread * more_imaginary,
            )
            state[row, column] = new


@njit(cache=True, nogil=True, parallel=True)
def frame_spectrum(
    signal: ComplexArray,
    decay: FloatArray,
    dose: float,
    static: ComplexArray,
    water: ComplexArray,
    amplitude: FloatArray,
    blur_y: FloatArray,
    blur_x: FloatArray,
    out: ComplexArray,
) -> None:
    """Add up a frame's transform, with the blur of motion during the frame.

    ``(signal exp(-dose decay) + static + water amplitude) sinc(blur_y[row] + blur_x[column])``
    """
    rows, columns = out.shape
    for row in prange(rows):
        for column in range(columns):
            phase = math.pi * (blur_y[row] + blur_x[column])
            sinc = 1.0
            if abs(phase) > 1e-4:
                sinc = math.sin(phase) / phase
            value = (
                signal[row, column] * math.exp(-dose * decay[row, column])
                + static[row, column]
                + water[row, column] * amplitude[row, column]
            )
            out[row, column] = value * np.float32(sinc)


@njit(cache=True, nogil=True, inline="always")
def _spline_weights(t: Any) -> tuple[Any, Any, Any, Any]:
    """Cubic B-spline at distances t + 1, t, 1 - t, 2 - t."""
    r = np.float32(1.0) - t
    sixth = np.float32(1.0 / 6.0)
    return (
        r * r * r * sixth,
        np.float32(2.0 / 3.0) + t * t * (np.float32(0.5) * t - np.float32(1.0)),
        np.float32(2.0 / 3.0) + r * r * (np.float32(0.5) * r - np.float32(1.0)),
        t * t * t * sixth,
    )


@njit(cache=True, nogil=True, parallel=True)
def sample_spline(
    coefficients: FloatArray, offsets: FloatArray, step: int, origin: int, out: FloatArray
) -> None:
    """Read a periodic image of cubic B-spline coefficients at moved places.

    Parameters
    ----------
    coefficients
        (cy, cx) float32.
    offsets
        (gy, gx, 2), what is added to (y, x), on a grid of `step` pixels; linear in between.
    step
        Spacing of the grid, pixels.
    origin
        Added to both coordinates: where out[0, 0] lies in `coefficients`.
    out
        (ny, nx) float32.
    """
    ny, nx = out.shape
    cy, cx = coefficients.shape
    for row in prange(ny):
        gy = row // step
        fy = (row - gy * step) / step
        for gx in range((nx + step - 1) // step):
            # Along the row between two grid points the offset is a straight line.
            y0 = (1 - fy) * offsets[gy, gx, 0] + fy * offsets[gy + 1, gx, 0]
            y1 = (1 - fy) * offsets[gy, gx + 1, 0] + fy * offsets[gy + 1, gx + 1, 0]
            x0 = (1 - fy) * offsets[gy, gx, 1] + fy * offsets[gy + 1, gx, 1]
            x1 = (1 - fy) * offsets[gy, gx + 1, 1] + fy * offsets[gy + 1, gx + 1, 1]
            for inner in range(min(step, nx - gx * step)):
                fx = inner / step
                column = gx * step + inner
                py = row + origin + y0 + fx * (y1 - y0)
                px = column + origin + x0 + fx * (x1 - x0)
                iy = math.floor(py)
                ix = math.floor(px)
                a0, a1, a2, a3 = _spline_weights(np.float32(py - iy))
                b0, b1, b2, b3 = _spline_weights(np.float32(px - ix))
                q = coefficients
                # Unsigned indices: numba would test signed ones for "from the end".
                if iy < 1 or ix < 1 or iy >= cy - 2 or ix >= cx - 2:
                    r0, r1 = np.uintp((iy - 1) % cy), np.uintp(iy % cy)
                    r2, r3 = np.uintp((iy + 1) % cy), np.uintp((iy + 2) % cy)
                    c0, c1 = np.uintp((ix - 1) % cx), np.uintp(ix % cx)
                    c2, c3 = np.uintp((ix + 1) % cx), np.uintp((ix + 2) % cx)
                else:
                    r0, r1 = np.uintp(iy - 1), np.uintp(iy)
                    r2, r3 = np.uintp(iy + 1), np.uintp(iy + 2)
                    c0, c1 = np.uintp(ix - 1), np.uintp(ix)
                    c2, c3 = np.uintp(ix + 1), np.uintp(ix + 2)
                out[row, column] = (
                    a0 * (b0 * q[r0, c0] + b1 * q[r0, c1] + b2 * q[r0, c2] + b3 * q[r0, c3])
                    + a1 * (b0 * q[r1, c0] + b1 * q[r1, c1] + b2 * q[r1, c2] + b3 * q[r1, c3])
                    + a2 * (b0 * q[r2, c0] + b1 * q[r2, c1] + b2 * q[r2, c2] + b3 * q[r2, c3])
                    + a3 * (b0 * q[r3, c0] + b1 * q[r3, c1] + b2 * q[r3, c2] + b3 * q[r3, c3])
                )


@njit(cache=True, nogil=True, parallel=True)
def poisson_counts(expected: FloatArray, key: int, out: AnyArray) -> None:
    """Draw Poisson counts of the expected numbers (ny, nx) into `out` of an integer type.

    One uniform number per pixel, inverted by adding up probabilities; a mean above 20 is split
    into independent parts of 20 so that exp(-mean) stays far from rounding. Above 500 a
    rounded normal number serves.
    """
    ny, nx = expected.shape
    for row in prange(ny):
        s = stream(key, row)
        for column in range(nx):
            rest = float(expected[row, column])
            count = 0
            if rest > 500.0:
                s += GOLDEN
                u = (float(mix(s) >> _S11) + 0.5) / 9007199254740992.0
                s += GOLDEN
                v = float(mix(s) >> _S11) / 9007199254740992.0
                normal = math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)
                count = math.floor(rest + math.sqrt(rest) * normal + 0.5)
                rest = 0.0
            while rest > 0.0:
                mean = min(rest, 20.0)
                rest -= mean
                s += GOLDEN
                u = (float(mix(s) >> _S11) + 0.5) / 9007199254740992.0
                term = math.exp(-mean)
                total = term
                k = 0
                while u > total and k < 400:
                    k += 1
                    term *= mean / k
                    total += term
                count += k
            out[row, column] = count


@njit(cache=True, nogil=True, parallel=True)
def stamp_atoms(
    atoms: FloatArray,
    weights: FloatArray,
    rotations: FloatArray,
    parts: FloatArray,
    out: FloatArray,
) -> None:
    """Project rotated atoms onto small images, one a particle, with cubic B-spline footprints.

    Parameters
    ----------
    atoms
        (n, 3), coordinates (x, y, z) in pixels from the centre.
    weights
        (n,), strength of an atom.
    rotations
        (p, 3, 3); the projected point is ``rotation @ atom``, of which x and y are kept.
    parts
        (p, 2), the fractional (y, x) of the centre.
    out
        (p, b, b) float32, zero; the centre is at b // 2 + part.
    """
    n_particles, box, _ = out.shape
    centre = box // 2
    for particle in prange(n_particles):
        r = rotations[particle]
        for index in range(atoms.shape[0]):
            ax, ay, az = atoms[index, 0], atoms[index, 1], atoms[index, 2]
            px = r[0, 0] * ax + r[0, 1] * ay + r[0, 2] * az + centre + parts[particle, 1]
            py = r[1, 0] * ax + r[1, 1] * ay + r[1, 2] * az + centre + parts[particle, 0]
            iy = math.floor(py)
            ix = math.floor(px)
            if iy < 1 or ix < 1 or iy >= box - 2 or ix >= box - 2:
                continue
            wy = _spline_weights(np.float32(py - iy))
            wx = _spline_weights(np.float32(px - ix))
            for a in range(4):
                for b in range(4):
                    out[particle, iy - 1 + a, ix - 1 + b] += weights[index] * wy[a] * wx[b]


@njit(cache=True, nogil=True)
def pack_discs(candidates: FloatArray, spacing: float, limit: int, taken: AnyArray) -> int:
    """Accept points one after another that keep a distance to all accepted before.

    Parameters
    ----------
    candidates
        (n, 2), non-negative coordinates.
    spacing
        Least distance.
    limit
        Stop after so many.
    taken
        (n,) bool, set True for the accepted.

    Returns
    -------
    int
        How many were accepted.
    """
    cell = spacing / math.sqrt(2.0)  # a cell holds at most one point
    rows = int(candidates[:, 0].max() / cell) + 5
    columns = int(candidates[:, 1].max() / cell) + 5
    owner = np.full((rows, columns), -1, np.int64)
    count = 0
    for index in range(candidates.shape[0]):
        if count >= limit:
            break
        y, x = candidates[index, 0], candidates[index, 1]
        row, column = int(y / cell) + 2, int(x / cell) + 2
        free = True
        for r in range(row - 2, row + 3):
            for c in range(column - 2, column + 3):
                other = owner[r, c]
                if other >= 0:
                    dy = candidates[other, 0] - y
                    dx = candidates[other, 1] - x
                    if dy * dy + dx * dx < spacing * spacing:
                        free = False
        if free:
            owner[row, column] = index
            taken[index] = True
            count += 1
    return count
