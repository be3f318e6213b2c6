"""The best of many templates at every pixel: from components, or from one after another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import fft
from threadpoolctl import threadpool_limits

from icefloe._types import AnyArray, ComplexArray, FloatArray, Tensor
from icefloe.fourier import get_threads, to_device, to_numpy
from icefloe.picking.angular_basis import AngularBasis

__all__ = ["Best", "combined", "each_in_turn"]

Window = tuple[slice, slice]

# Pixels that are combined at a time: what they need stays in the cache.
_CHUNK = 2048
# On an accelerator: components transformed at a time, and bytes of scores at a time.
_BATCH = 32
_BYTES = 1 << 29


@dataclass(frozen=True)
class Best:
    """The best at each pixel of a window, in the order of rows.

    Attributes
    ----------
    score
        (n,) float32.
    index
        (n,) int32, number of the template times the number of angles, plus that of the angle.
    between
        (n,) float32, -0.5 to 0.5: by how many steps the angle lies further on.
    """

    score: FloatArray
    index: AnyArray
    between: FloatArray


def combined(
    spectrum: ComplexArray, sizes: tuple[int, int], window: Window, basis: AngularBasis, device: str
) -> Best:
    """Correlate with the components of a basis, and combine them at every pixel.

    Parameters
    ----------
    spectrum
        Transform of the image, of `sizes` pixels.
    window
        The part of the image for which the result is returned.
    basis
        Of the templates.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.
    """
    if device != "cpu":
        return _on_accelerator(spectrum, sizes, window, basis, device)
    n_even = basis.even.shape[-1]
    height, width = (s.stop - s.start for s in window)
    n, count = height * width, len(basis.images)
    responses = np.empty((count, n), dtype=np.float32)
    transform = _Transform(basis.images.shape[1], sizes)
    rows = basis.even.shape[0] * basis.even.shape[1]
    even, odd = (w.reshape(rows, w.shape[-1]) for w in (basis.even, basis.odd))
    turned, halves = len(even), basis.even.shape[1]
    out = Best(
        np.empty(n, dtype=np.float32),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.float32),
    )

    def respond(i: int) -> None:
        product = transform(basis.images[i])
        product *= spectrum
        response = fft.irfft2(product, sizes)
        responses[i].reshape(height, width)[:] = response[window]

    def combine(starts: list[int]) -> None:
        a = np.empty((turned, _CHUNK), dtype=np.float32)
        b = np.empty((turned, _CHUNK), dtype=np.float32)
        for start in starts:
            part = slice(start, min(start + _CHUNK, n))
            size = part.stop - part.start
            np.matmul(even, responses[:n_even, part], out=a[:, :size])
            np.matmul(odd, responses[n_even:, part], out=b[:, :size])
            _best_turn(
                a[:, :size], b[:, :size], halves, basis.turns,
                out.score[part], out.index[part], out.between[part],
            )  # fmt: skip

    workers = max(1, get_threads())
    starts = list(range(0, n, _CHUNK))
    # One thread in BLAS: several of ours call it, and it rounds the same however many they are.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        list(pool.map(respond, range(count)))
        list(pool.map(combine, [starts[i::workers] for i in range(workers)]))
    return out


class _Transform:
    """Conjugate transforms of small images with their middle on pixel [0, 0] of a large one."""

    def __init__(self, n: int, sizes: tuple[int, int]) -> None:
        step = np.arange(n) - n // 2
        ky, kx = np.fft.fftfreq(sizes[0]), np.fft.rfftfreq(sizes[1])
        # As products of matrices: nearly all of the large image would be 0.
        self._rows = np.exp(2j * np.pi * ky[:, None] * step).astype(np.complex64)
        self._columns = np.exp(2j * np.pi * step[:, None] * kx).astype(np.complex64)

    def __call__(self, image: FloatArray) -> ComplexArray:
        return np.asarray(self._rows @ (image @ self._columns))


@njit(cache=True, nogil=True)
def _best_turn(even, odd, halves, turns, score, index, between):  # type: ignore[no-untyped-def]
    """Find the best row of ``even + odd`` and, half a turn on, ``even - odd``."""
    rows, n = even.shape
    both = halves < turns
    for x in range(n):
        score[x] = -np.inf
        index[x] = 0
    for r in range(rows):
        for x in range(n):
            value = even[r, x]
            if both:
                value += abs(odd[r, x])
            if value > score[x]:
                score[x] = value
                index[x] = r
    for x in range(n):
        row = index[x]
        k, j = row // halves, row % halves
        sign = np.float32(1)
        if both and odd[row, x] < 0:
            sign = np.float32(-1)
        # The angles before and after; past the end they go on, half a turn further, from the start.
        before, after = j - 1, j + 1
        sign_before = sign_after = sign
        if before < 0:
            before += halves
            sign_before = -sign
        if after == halves:
            after = 0
            sign_after = -sign
        low = even[k * halves + before, x]
        high = even[k * halves + after, x]
        if both:
            low += sign_before * odd[k * halves + before, x]
            high += sign_after * odd[k * halves + after, x]
        index[x] = k * turns + j + (halves if sign < 0 else 0)
        between[x] = _vertex(low, score[x], high)


@njit(cache=True, nogil=True)
def _vertex(low, middle, high):  # type: ignore[no-untyped-def]
    curvature = low - 2 * middle + high
    if curvature >= 0:
        return np.float32(0)
    return np.float32(min(0.5, max(-0.5, 0.5 * (low - high) / curvature)))


def _on_accelerator(
    spectrum: ComplexArray, sizes: tuple[int, int], window: Window, basis: AngularBasis, device: str
) -> Best:
    """Do the same with torch."""
    import torch

    field = to_device(spectrum.astype(np.complex64), device)
    transform = _Transform(basis.images.shape[1], sizes)
    rows, columns = to_device(transform._rows, device), to_device(transform._columns, device)
    images = to_device(basis.images, device)
    parts = []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH].to(torch.complex64)
        response = torch.fft.irfft2(field * (rows @ (batch @ columns)), s=sizes)
        parts.append(response[:, window[0], window[1]].reshape(len(batch), -1))
    responses = torch.cat(parts)
    n_even = basis.even.shape[-1]
    k, halves = basis.even.shape[:2]
    even = to_device(basis.even.reshape(k * halves, n_even), device)
    odd = to_device(basis.odd.reshape(k * halves, len(images) - n_even), device)
    chunk = max(1, _BYTES // (4 * k * basis.turns))
    found: list[list[AnyArray]] = []
    for start in range(0, int(responses.shape[1]), chunk):
        part = responses[:, start : start + chunk]
        a, b = even @ part[:n_even], odd @ part[n_even:]
        if halves < basis.turns:
            a, b = a.view(k, halves, -1), b.view(k, halves, -1)
            scores = torch.cat([a + b, a - b], dim=1).view(k * basis.turns, -1)
        else:
            scores = a + b
        found.append([to_numpy(v) for v in _best_row(scores, basis.turns)])
    score, index, between = (np.concatenate(v) for v in zip(*found, strict=True))
    return Best(score, index.astype(np.int32), between)


def _best_row(scores: Tensor, turns: int) -> tuple[Tensor, Tensor, Tensor]:
    import torch

    best, index = scores.max(dim=0)
    first, j = index // turns * turns, index % turns
    low = scores.gather(0, (first + (j - 1) % turns)[None])[0]
    high = scores.gather(0, (first + (j + 1) % turns)[None])[0]
    curvature = low - 2 * best + high
    vertex = (0.5 * (low - high) / torch.where(curvature < 0, curvature, -1)).clip(-0.5, 0.5)
    return best, index, torch.where(curvature < 0, vertex, torch.zeros_like(vertex))


def each_in_turn(
    spectrum: ComplexArray, sizes: tuple[int, int], window: Window, stack: FloatArray
) -> Best:
    """Correlate with each of (k, turns, n, n) templates; the plain way, and the slow one."""
    k, turns = stack.shape[:2]
    transform = _Transform(stack.shape[-1], sizes)
    shape = tuple(s.stop - s.start for s in window)

    def respond(number: int) -> FloatArray:
        template = stack[number // turns, number % turns]
        return np.asarray(fft.irfft2(spectrum * transform(template), sizes)[window])

    def search(numbers: list[int]) -> tuple[FloatArray, AnyArray, FloatArray]:
        best = np.full(shape, -np.inf, dtype=np.float32)
        index = np.zeros(shape, dtype=np.int32)
        between = np.zeros(shape, dtype=np.float32)
        for i in numbers:
            start = here = respond(i * turns)
            before = respond(i * turns + turns - 1)
            for j in range(turns):
                after = respond(i * turns + j + 1) if j < turns - 1 else start
                _keep_best(best, index, between, before, here, after, np.int32(i * turns + j))
                before, here = here, after
        return best, index, between

    workers = max(1, min(get_threads(), k))
    share = -(-k // workers)
    parts = [list(range(i, min(i + share, k))) for i in range(0, k, share)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(search, parts))
    best, index, between = found[0]
    for other, number, shift in found[1:]:
        # Of equal scores the first template's counts, whatever the number of threads.
        better = other > best
        best, index = np.where(better, other, best), np.where(better, number, index)
        between = np.where(better, shift, between)
    return Best(best.ravel(), index.ravel(), between.ravel())


@njit(cache=True, nogil=True)
def _keep_best(best, index, between, before, here, after, number):  # type: ignore[no-untyped-def]
    for y in range(best.shape[0]):
        for x in range(best.shape[1]):
            if here[y, x] > best[y, x]:
                best[y, x] = here[y, x]
                index[y, x] = number
                between[y, x] = _vertex(before[y, x], here[y, x], after[y, x])
