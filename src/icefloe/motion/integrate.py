"""Sum the frames along the motion field: one pass over the raw counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray, Tensor
from icefloe.fourier import is_tensor
from icefloe.kernels.transfer import interpolation_transfer
from icefloe.kernels.warp import bad_pixel_rows, warp_accumulate
from icefloe.motion.canvas import Canvas
from icefloe.motion.doses import WeightedSums
from icefloe.motion.field import MotionField
from icefloe.motion.spectrum import TileSpectrum

__all__ = ["Integrated", "integrate"]

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
    canvas = Canvas.around(full, shape)
    sums = canvas.sums(stack, rank + extra)
    accumulate = _accumulator(
        stack, gain, bad, means, seed, field.coefficients, weights, sums, canvas.margin
    )
    for group in groups:
        sums[rank] = 0
        accumulate(group)
        spectrum.add(canvas.frame(sums[rank]))
    fractions = _fractions(field)
    response = canvas.response(fractions, stack)
    halves: list[FloatArray | None] = [None, None]
    if even_odd:
        halves = [canvas.finish(t, response) for t in canvas.transforms(sums[rank + 1 :])]
    if rank == 1 and components.error == 0.0:
        plain = canvas.finish(canvas.transforms(sums[:1])[0], response)
        micrograph = plain.copy()
    else:
        both = canvas.combine(canvas.transforms(sums[: rank + 1]), components, pixel_size)
        micrograph, plain = (canvas.finish(t, response) for t in both)
    weights_of_all = np.ones(len(fractions))
    transfer = interpolation_transfer(*spectrum.frequencies(), fractions, weights_of_all)
    return Integrated(micrograph, plain, spectrum.amplitude(transfer), *halves)


def _accumulator(  # type: ignore[no-untyped-def]
    stack: Tensor,
    gain: Tensor,
    bad: BoolArray,
    means: FloatArray,
    seed: int,
    coefficients: FloatArray,
    weights: FloatArray,
    sums: Tensor,
    margin: int,
):
    if is_tensor(stack):
        from icefloe.kernels.warp_torch import TorchAccumulator

        return TorchAccumulator(stack, gain, bad, means, seed, coefficients, weights, sums, margin)
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
            margin,
        )

    return accumulate


def _fractions(field: MotionField) -> FloatArray:
    # (F * 81, 2) displacements over frames and field.
    y, x = np.meshgrid(*((np.arange(_GRID) + 0.5) / _GRID * s for s in field.shape), indexing="ij")
    frames = np.arange(len(field))[:, None, None]
    return field.displacement(frames, y[None], x[None]).reshape(-1, 2)
