"""Where a movie's frames are added up, and what becomes of the sums' transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icefloe._types import ComplexArray, FloatArray, Tensor
from icefloe.fourier import (
    crop_rfft,
    fast_size,
    frequency_axes,
    irfft2,
    irfft2_window,
    is_tensor,
    resize,
    rfft2,
    rfft2_in_place,
    to_numpy,
)
from icefloe.kernels.spectra import combine, divide
from icefloe.kernels.transfer import interpolation_transfer
from icefloe.motion.doses import WeightedSums

__all__ = ["Canvas"]

# Rows and columns added around a frame, so that the interpolation's filter, undone by a transform
# that takes the image for periodic, does not mix opposite edges.
_MARGIN = 16
# Steps from frequency zero to Nyquist in the table of the interpolation's response: linear between
# them it is exact to 2e-5.
_STEPS = 512


@dataclass(frozen=True)
class Canvas:
    """A frame with a margin around it, and the output that is cut out of it.

    Attributes
    ----------
    full
        Size of the sums, (y, x), even.
    margin
        Rows and columns before the frame.
    cropped
        Size to which transforms are cut, which bins.
    frame_shape, shape
        Of a frame and of the output.
    """

    full: tuple[int, int]
    margin: int
    cropped: tuple[int, int]
    frame_shape: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def around(cls, frame: tuple[int, int], shape: tuple[int, int]) -> Canvas:
        """Return the canvas for frames and output of these sizes."""
        factor = frame[0] // shape[0]
        if factor > 1 and all(f == factor * s for f, s in zip(frame, shape, strict=True)):
            # Whole squares of pixels: the margin is cropped along, and a sum's transform needs
            # memory for what is left of it only.
            margin = factor * -(-_MARGIN // factor)
            small = tuple(fast_size(s + 2 * margin // factor) for s in shape)
            full = (small[0] * factor, small[1] * factor)
            return cls(full, margin, (small[0], small[1]), frame, shape)
        full = (fast_size(frame[0] + 2 * _MARGIN), fast_size(frame[1] + 2 * _MARGIN))
        return cls(full, _MARGIN, full, frame, shape)

    def sums(self, like: Tensor, count: int) -> Tensor:
        """Return zeros for `count` sums, (count, y, x).

        Arrays, not tensors, have two more columns than `full`: room for a transform in place.
        """
        if is_tensor(like):
            import torch

            return torch.zeros((count, *self.full), dtype=torch.float32, device=like.device)
        return np.zeros((count, self.full[0], self.full[1] + 2), np.float32)

    def frame(self, image: Tensor) -> Tensor:
        """Return the part of a sum inside the frame."""
        return _inside(image, self.margin, self.frame_shape)

    def transforms(self, sums: Tensor) -> Tensor:
        """Return the transforms of sums, cropped, in the sums' own memory where they are arrays."""
        if is_tensor(sums):
            import torch

            return torch.stack([crop_rfft(rfft2(s), self.full, self.cropped) for s in sums])
        ny, columns = self.cropped[0], self.cropped[1] // 2 + 1
        flat: ComplexArray = sums.reshape(len(sums), -1).view(np.complex64)[:, : ny * columns]
        out = flat.reshape(len(sums), ny, columns)
        for image, place in zip(sums, out, strict=True):
            spectrum = rfft2_in_place(image)
            if self.cropped != self.full:
                place[...] = crop_rfft(spectrum, self.full, self.cropped)
        return out

    def combine(
        self, spectra: Tensor, components: WeightedSums, pixel_size: float
    ) -> tuple[Tensor, Tensor]:
        """Return the dose-weighted and the plain transform, overwriting `spectra`.

        Parameters
        ----------
        spectra
            (K + 1, ...), the transforms of the weighted sums and room for another.
        components
            How frames are weighted.
        pixel_size
            Of the frames, A.
        """
        ky, kx = self.frequencies(pixel_size)
        step = float(components.frequencies[1])
        if not is_tensor(spectra):
            curves = components.curves.astype(np.float32)
            combine(spectra, ky, kx, step, curves, components.plain.astype(np.float32))
            return spectra[0], spectra[-1]
        import torch

        k = np.hypot(ky[:, None], kx[None])
        weighted, plain = torch.zeros_like(spectra[0]), torch.zeros_like(spectra[0])
        for transform, curve, factor in zip(
            spectra[:-1], components.curves, components.plain, strict=True
        ):
            values = np.interp(k, components.frequencies, curve).astype(np.float32)
            weighted += torch.from_numpy(values).to(transform.device) * transform
            plain += float(factor) * transform
        return weighted, plain

    def response(self, fractions: FloatArray, like: Tensor) -> FloatArray:
        """Return by what the interpolation multiplied the sums, float32.

        Parameters
        ----------
        fractions
            (p, 2), displacements (y, x) that occurred, pixels.
        like
            For a tensor the response at every frequency of a cropped transform is returned, for an
            array the table that `divide` wants.
        """
        axes = self.frequencies()
        if not is_tensor(like):
            axes = np.linspace(-0.5, 0.5, 2 * _STEPS + 1), np.linspace(0, 0.5, _STEPS + 1)
        return interpolation_transfer(*axes, fractions, np.ones(len(fractions)))

    def finish(self, spectrum: Tensor, response: FloatArray) -> FloatArray:
        """Return the output image, float32, overwriting its transform.

        Parameters
        ----------
        spectrum
            Cropped.
        response
            From `response`.
        """
        margin, shape = self.margin, self.frame_shape
        if self.cropped != self.full:
            margin, shape = margin * self.cropped[0] // self.full[0], self.shape
        if is_tensor(spectrum):
            import torch

            spectrum /= torch.from_numpy(response).to(spectrum.device)
            image = _inside(irfft2(spectrum, self.cropped), margin, shape)
        else:
            divide(spectrum, *self.frequencies(), response)
            window = (slice(margin, margin + n) for n in shape)
            image = irfft2_window(spectrum, self.cropped[1], *window)
        return np.ascontiguousarray(to_numpy(resize(image, self.shape)), dtype=np.float32)

    def frequencies(self, pixel_size: float = 1.0) -> tuple[FloatArray, FloatArray]:
        """Return ky and kx of a cropped transform, 1/A, from the frames' pixel size."""
        ky, kx = frequency_axes(self.cropped, pixel_size * self.full[0] / self.cropped[0])
        return ky[:, 0], kx[0]


def _inside(image: Tensor, margin: int, shape: tuple[int, int]) -> Tensor:
    return image[margin : margin + shape[0], margin : margin + shape[1]]
