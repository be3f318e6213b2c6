"""Sum the frames along the motion field: one pass over the raw counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray, Tensor
from icefloe.fourier import fast_size, frequency_axes, irfft2, is_tensor, resize, rfft2, to_numpy
from icefloe.kernels.warp import (
    add_filtered,
    bad_pixel_rows,
    interpolation_transfer,
    warp_accumulate,
)
from icefloe.motion.doses import WeightedSums
from icefloe.motion.field import MotionField
from icefloe.motion.spectrum import TileSpectrum

__all__ = ["Integrated", "integrate"]

# Rows and columns added around a frame, so that the interpolation's filter, undone by a transform
# that takes the image for periodic, does not mix opposite edges.
_MARGIN = 16
# Where the field is sampled for the interpolation's mean response.
_GRID = 9


@dataclass(frozen=True)
class Integrated:
    """What a movie adds up to; images of the output shape, float32."""

    micrograph: FloatArray
    plain: FloatArray
    power_spectrum: FloatArray
    even: FloatArray | None
    odd: FloatArray | None


def integrate(
    stack: Tensor,
    gain: Tensor,
    bad: BoolArray,
    means: FloatArray,
    field: MotionField,
    components: WeightedSums,
    groups: list[AnyArray],
    spectrum: TileSpectrum,
    *,
    pixel_size: float,
    shape: tuple[int, int],
    even_odd: bool,
    seed: int,
) -> Integrated:
    """Add up the frames of a movie.

    Parameters
    ----------
    stack
        (F, ny, nx), raw counts; array, or tensor of an accelerator.
    gain
        (ny, nx), float32, zero at bad pixels.
    bad
        (ny, nx), pixels to replace.
    means
        (F,), mean of each gain-corrected frame.
    field
        The motion.
    components
        How frames are weighted.
    groups
        Frames of each group of the power spectrum, in order.
    spectrum
        Where the spectra of the groups are added up.
    pixel_size
        Of the movie, A.
    shape
        Of the output, (ny, nx): Fourier-cropped where smaller than the movie.
    even_odd
        Whether to make sums of even and odd frames.
    seed
        Of the replacement of bad pixels.
    """
    full = field.shape
    n = len(field)
    rank = components.frame_weights.shape[1]
    extra = 3 if even_odd else 1
    weights = np.zeros((n, rank + extra), np.float32)
    weights[:, :rank] = components.frame_weights
    weights[:, rank] = 1.0
    if even_odd:
        weights[0::2, rank + 1] = 1.0
        weights[1::2, rank + 2] = 1.0
    canvas = (fast_size(full[0] + 2 * _MARGIN), fast_size(full[1] + 2 * _MARGIN))
    frame = (slice(_MARGIN, _MARGIN + full[0]), slice(_MARGIN, _MARGIN + full[1]))
    sums = _zeros(stack, (rank + extra, *canvas))
    accumulate = _accumulator(stack, gain, bad, means, seed, field.coefficients, weights, sums)
    for group in groups:
        sums[rank] = 0
        accumulate(group)
        spectrum.add(sums[rank][frame])
    fractions = _fractions(field)
    even_weights = np.ones(len(fractions))
    transfer = interpolation_transfer(*spectrum.frequencies(), fractions, even_weights)
    ky, kx = frequency_axes(canvas)
    undo = 1 / interpolation_transfer(ky[:, 0], kx[0], fractions, even_weights)

    def finish(transform: Tensor) -> FloatArray:
        if is_tensor(transform):
            import torch

            transform *= torch.from_numpy(undo).to(transform.device)
        else:
            transform *= undo
        image = resize(irfft2(transform, canvas)[frame], shape)
        return np.ascontiguousarray(to_numpy(image), dtype=np.float32)

    micrograph, plain = _combine(sums[:rank], components, canvas, pixel_size)
    halves: list[FloatArray | None] = [None, None]
    if even_odd:
        halves = [finish(rfft2(sums[rank + 1 + i])) for i in (0, 1)]
    finished = finish(plain)
    weighted = finished.copy() if micrograph is None else finish(micrograph)
    return Integrated(weighted, finished, spectrum.amplitude(transfer), *halves)


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    if is_tensor(like):
        import torch

        return torch.zeros(shape, dtype=torch.float32, device=like.device)
    return np.zeros(shape, np.float32)


def _accumulator(  # type: ignore[no-untyped-def]
    stack: Tensor,
    gain: Tensor,
    bad: BoolArray,
    means: FloatArray,
    seed: int,
    coefficients: FloatArray,
    weights: FloatArray,
    sums: Tensor,
):
    if is_tensor(stack):
        from icefloe.kernels.warp_torch import TorchAccumulator

        return TorchAccumulator(stack, gain, bad, means, seed, coefficients, weights, sums, _MARGIN)
    starts, columns = bad_pixel_rows(bad)
    means = np.asarray(means, dtype=np.float32)

    def accumulate(frames: AnyArray) -> None:
        warp_accumulate(
            stack,
            frames,
            gain,
            starts,
            columns,
            means,
            seed,
            coefficients,
            weights,
            sums,
            _MARGIN,
        )

    return accumulate


def _combine(
    sums: Tensor, components: WeightedSums, shape: tuple[int, int], pixel_size: float
) -> tuple[Tensor | None, Tensor]:
    # Transforms of the dose-weighted sum (None without weighting) and of the plain one.
    if len(sums) == 1 and components.error == 0.0:
        return None, rfft2(sums[0])
    ky, kx = frequency_axes(shape, pixel_size)
    step = float(components.frequencies[1])
    weighted = plain = None
    for image, curve, factor in zip(sums, components.curves, components.plain, strict=True):
        transform = rfft2(image)
        if is_tensor(transform):
            import torch

            if weighted is None:
                k = np.sqrt(ky**2 + kx**2)
                weighted, plain = torch.zeros_like(transform), torch.zeros_like(transform)
            values = np.interp(k, components.frequencies, curve).astype(np.float32)
            weighted += torch.from_numpy(values).to(transform.device) * transform
            plain += float(factor) * transform
        else:
            if weighted is None:
                weighted, plain = np.zeros_like(transform), np.zeros_like(transform)
            add_filtered(weighted, transform, ky[:, 0], kx[0], step, curve.astype(np.float32))
            plain += np.float32(factor) * transform
    return weighted, plain


def _fractions(field: MotionField) -> FloatArray:
    # (F * 81, 2) displacements over frames and field.
    y, x = np.meshgrid(*((np.arange(_GRID) + 0.5) / _GRID * s for s in field.shape), indexing="ij")
    frames = np.arange(len(field))[:, None, None]
    return field.displacement(frames, y[None], x[None]).reshape(-1, 2)
