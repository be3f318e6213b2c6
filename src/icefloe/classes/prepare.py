"""Particles on their way into classification: binned, corrected for the CTF, judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import j0

from icefloe._types import AnyArray, ComplexArray, FloatArray
from icefloe.classes.basis import Harmonics, soft_mask
from icefloe.classes.settings import ClassifySettings
from icefloe.errors import InputError, MissingMetadataError
from icefloe.extraction.ctf import CtfPlanes
from icefloe.fourier import crop_rfft, irfft2, rfft2, rotational_average, shift_phases
from icefloe.optics import CtfParameters, good_size, wavelength

__all__ = ["Particles", "binned_box", "noise_on", "prepare_particles", "ring_transfer"]

# Fewer particles make no classes.
FEWEST = 20
_CHUNK = 1024
# Images whose power is so many times the median are contamination; their weight is bounded.
_BRIGHTEST = 1.5


@dataclass(frozen=True)
class Particles:
    """What classification works on.

    Attributes
    ----------
    spectra
        (n, b, b // 2 + 1) complex64, of images times their CTF (or its sign).
    box, pixel_size
        Side, pixels, and pixel size, A, after binning.
    used
        (n,) int, which of the images given they are.
    ctf
        Of each particle, or None.
    noise
        (b // 2 + 1,) power of an image per coefficient on rings, before the CTF.
    mode
        ``multiply``, ``flip`` or ``none``: how the CTF is treated.
    flags
        What was left out or done instead.
    """

    spectra: ComplexArray
    box: int
    pixel_size: float
    used: AnyArray
    ctf: tuple[CtfParameters, ...] | None
    noise: FloatArray
    mode: str
    flags: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.spectra)

    def centred(self, members: AnyArray, places: FloatArray) -> FloatArray:
        """Return images (m, b, b) of `members`, moved so that `places` (m, 2) come to the middle.

        Parameters
        ----------
        members
            (m,) indices.
        places
            (m, 2) y and x, pixels from the middle of the box.
        """
        shape = (self.box, self.box)
        out = np.empty((len(members), *shape), dtype=np.float32)
        for start in range(0, len(members), _CHUNK):
            part = slice(start, start + _CHUNK)
            moved = shift_phases(self.spectra[members[part]], shape, -places[part])
            out[part] = irfft2(moved, shape)
        return out

    def transfer(self, rings: FloatArray, step: float) -> FloatArray:
        """Return (n, R) squared CTFs on rings of frequency, cycles per pixel."""
        if self.ctf is None or self.mode != "multiply":
            return np.ones((len(self), len(rings)), dtype=np.float32)
        return ring_transfer(self.ctf, rings / self.pixel_size, step / self.pixel_size)


def ring_transfer(ctf: Sequence[CtfParameters], k: FloatArray, width: float) -> FloatArray:
    """Return squared CTFs averaged over azimuth and over the `width` of rings `k` (1/A): (n, R)."""
    rows = np.array(
        [
            (p.defocus, 0.5 * (p.defocus_u - p.defocus_v), wavelength(p.voltage), p.cs * 1e7,
             math.radians(p.phase_shift) + math.asin(min(1.0, p.amplitude_contrast)))
            for p in ctf
        ]
    )  # fmt: skip
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    defocus, astigmatism, lam, cs, constant = (unique[:, i, None, None] for i in range(5))
    k2 = (np.asarray(k)[:, None] + width * (np.arange(5) - 2) / 5) ** 2
    chi = np.pi * lam * k2 * (defocus - 0.5 * lam**2 * cs * k2) + constant
    # sin^2(chi + A cos 2 theta) over theta.
    mean = 0.5 * (1 - np.cos(2 * chi) * j0(2 * np.pi * lam * k2 * astigmatism))
    averages: FloatArray = mean.mean(axis=2).astype(np.float32)
    return averages[inverse.ravel()]


def prepare_particles(
    images: FloatArray,
    ctf: Sequence[CtfParameters] | CtfParameters | None,
    *,
    pixel_size: float,
    premultiplied: bool = False,
    settings: ClassifySettings,
) -> Particles:
    """Bin particles, apply their CTF and measure the noise.

    Parameters
    ----------
    images
        (n, box, box), bright particles on a background of about mean 0.
    ctf
        Of each image, or one for all; None if it is not known.
    pixel_size
        A.
    premultiplied
        Whether the images have been multiplied by their CTF.
    settings
        Choices.

    Raises
    ------
    InputError
        Not a stack of square images, or fewer than twenty that can be used.
    MissingMetadataError
        No positive pixel size.
    """
    stack = np.asarray(images)
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or stack.shape[1] < 16:
        raise InputError(
            f"The particles have the shape {stack.shape}", "square images of 16 pixels or more"
        )
    if stack.shape[1] % 2:
        raise InputError(f"The particles' box is {stack.shape[1]} pixels", "an even box")
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(f"The pixel size is {pixel_size}", "A per pixel")
    if ctf is not None and not isinstance(ctf, CtfParameters) and len(ctf) != len(stack):
        raise InputError(f"{len(ctf)} CTFs for {len(stack)} particles", "one for each")
    used, flags = _usable(stack)
    if len(used) < FEWEST:
        raise InputError(
            f"There are {len(used)} particles to classify" + "".join(f" ({f})" for f in flags),
            f"{FEWEST} or more",
        )
    side = stack.shape[1]
    box, size = binned_box(side, pixel_size, settings.bin_to)
    lenses = None
    if ctf is None:
        if settings.ctf != "none":
            flags += ("no CTF: averages are not corrected for it",)
    elif isinstance(ctf, CtfParameters):
        lenses = (ctf,) * len(used)
    else:
        lenses = tuple(ctf[i] for i in used.tolist())
    mode = settings.ctf if lenses else "none"
    spectra, noise = _spectra(stack, used, (side, box), size, lenses, mode, premultiplied)
    return Particles(spectra, box, size, used, lenses, noise, mode, flags)


def _usable(stack: FloatArray) -> tuple[AnyArray, tuple[str, ...]]:
    deviation = np.empty(len(stack))
    for start in range(0, len(stack), _CHUNK):
        part = np.asarray(stack[start : start + _CHUNK], dtype=np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            deviation[start : start + len(part)] = part.std(axis=(1, 2), dtype=np.float64)
    missing, flat = ~np.isfinite(deviation), deviation < 1e-8
    flags: tuple[str, ...] = ()
    if missing.any():
        flags += (f"{int(missing.sum())} particles with NaN or infinite pixels left out",)
    if flat.any():
        flags += (f"{int(flat.sum())} particles without contrast left out",)
    return np.flatnonzero(~(missing | flat)), flags


def binned_box(side: int, pixel_size: float, target: float) -> tuple[int, float]:
    """Return box and pixel size, A, of particles binned to about `target` A; finer is not made."""
    if pixel_size > 0.9 * target:
        return side, pixel_size
    box = min(side, max(24, good_size(math.ceil(side * pixel_size / target))))
    return box, pixel_size * side / box


def _spectra(
    stack: FloatArray,
    used: AnyArray,
    sides: tuple[int, int],
    pixel_size: float,
    ctf: tuple[CtfParameters, ...] | None,
    mode: str,
    premultiplied: bool,
) -> tuple[ComplexArray, FloatArray]:
    side, box = sides
    planes = CtfPlanes(box, pixel_size)
    out = np.empty((len(used), box, box // 2 + 1), dtype=np.complex64)
    power = np.zeros(box // 2 + 1)
    squares = np.zeros(box // 2 + 1)
    energy = np.empty(len(used))
    disc = soft_mask(box, 0.8 * box, 0.1 * box)
    for start in range(0, len(used), _CHUNK):
        chosen = used[start : start + _CHUNK]
        part = slice(start, start + len(chosen))
        x = crop_rfft(rfft2(np.asarray(stack[chosen], np.float32)), (side, side), (box, box))
        inside = rfft2(irfft2(x, (box, box)) * disc)
        power += rotational_average(np.abs(inside) ** 2, (box, box))[1].sum(axis=0)
        energy[part] = np.square(np.abs(inside)).sum(axis=(1, 2))
        if ctf is not None and mode != "none":
            c = planes(ctf[part])
            squares += rotational_average(c * c, (box, box))[1].sum(axis=0)
            if mode == "flip":
                x = x if premultiplied else x * (1.0 - 2.0 * (c < 0)).astype(np.float32)
            elif not premultiplied:
                x = x * c
        out[part] = x
    weight = np.minimum(1.0, np.sqrt(_BRIGHTEST * np.median(energy) / energy)).astype(np.float32)
    out *= weight[:, None, None]
    noise = power / (len(used) * float((disc**2).sum()))
    if premultiplied and ctf is not None and mode == "multiply":
        noise = noise / np.maximum(squares / len(used), 0.05)
    return out, np.maximum(noise, 1e-3 * noise.max())


def noise_on(basis: Harmonics, particles: Particles) -> FloatArray:
    """Return (R,) the power of an image per coefficient of `basis`."""
    k = np.arange(len(particles.noise)) / (2.0 * (len(particles.noise) - 1))
    return np.interp(basis.rings, k, particles.noise).astype(np.float32)
