"""Windows around picks, as RELION's `relion_preprocess` defines them.

The centre is the truncated coordinate, the window runs from ``centre - N/2`` to
``centre + N/2 - 1``, what lies outside the micrograph repeats its border (where the CTF is applied,
it is the micrograph's mean to the CTF, and repeats the border of the result). Then follow Fourier
cropping, dust removal, the plane through the background, normalisation and inversion. The fraction
of a pixel that truncation loses is kept as an origin instead of being forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import AnyArray, FloatArray, Tensor
from icefloe.errors import InputError, MissingMetadataError, SettingsError
from icefloe.extraction.box import binned_box, choose_box, choose_ctf_box
from icefloe.extraction.ctf import CtfPlanes, correct_ctf, signs
from icefloe.extraction.dust import remove_dust
from icefloe.extraction.normalise import Background, normalise
from icefloe.extraction.settings import ExtractSettings
from icefloe.extraction.windows import (
    centre_crop,
    clean_image,
    cut,
    fourier_crop,
    numbers_yx,
    repeat_border,
    which_fit,
)
from icefloe.fourier.device import get_threads, to_device, to_numpy
from icefloe.optics import CtfParameters

__all__ = ["ParticleStack", "extract_particles"]

# Windows that are worked on at a time, in pixels: what stays in the cache of a core, and what keeps
# an accelerator busy.
_CHUNK, _CHUNK_DEVICE = 262_144, 4_000_000


@dataclass(frozen=True)
class ParticleStack:
    """Particles of one micrograph.

    Attributes
    ----------
    images
        (n, box, box) float32.
    pixel_size
        Their pixel size, A.
    extract_box
        Side of the windows in the micrograph, pixels.
    y, x
        (n,) int, pixel of the micrograph at ``images[:, box // 2, box // 2]``.
    origin_y, origin_x
        (n,) A; the particle lies at ``y - origin_y / pixel size of the micrograph``, which is
        RELION's rlnOriginYAngst.
    kept
        (n,) int, which of the coordinates given they are.
    n_dropped
        Coordinates without an image.
    flags
        What went wrong or was done instead.
    ctf
        ``none``, ``flip`` or ``multiply``: what was done about the CTF.
    small
        The second, smaller stack of the same particles; None if none was asked for.
    """

    images: FloatArray
    pixel_size: float
    extract_box: int
    y: AnyArray
    x: AnyArray
    origin_y: FloatArray
    origin_x: FloatArray
    kept: AnyArray
    n_dropped: int
    flags: tuple[str, ...] = ()
    ctf: str = "none"
    small: ParticleStack | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def box(self) -> int:
        """Side of the particles, pixels."""
        return int(self.images.shape[-1])

    def numbers(self) -> dict[str, Any]:
        """Return the figures that a sidecar records; `kept` are indices of the picks."""
        more: dict[str, Any] = {}
        if self.ctf != "none":
            more["ctf"] = self.ctf
        if self.small is not None:
            more["small"] = {"box": self.small.box, "pixel_size": self.small.pixel_size}
        return {
            "n_particles": len(self),
            "n_dropped": self.n_dropped,
            "box": self.box,
            "extract_box": self.extract_box,
            "pixel_size": self.pixel_size,
            "kept": self.kept.tolist(),
            "y": self.y.tolist(),
            "x": self.x.tolist(),
            "origin_y": np.round(self.origin_y, 4).tolist(),
            "origin_x": np.round(self.origin_x, 4).tolist(),
            **more,
        }


def extract_particles(
    image: FloatArray,
    y: ArrayLike,
    x: ArrayLike,
    *,
    pixel_size: float,
    diameter: float | None = None,
    voltage: float = 300.0,
    ctf: CtfParameters | Sequence[CtfParameters] | None = None,
    settings: ExtractSettings | None = None,
    device: str = "cpu",
) -> ParticleStack:
    """Cut out particles, and bin, normalise and invert them.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    y, x
        (n,) centres, pixels, 0-based.
    pixel_size
        Pixel size of the micrograph, A.
    diameter, voltage
        Longest particle diameter, A, and acceleration voltage, kV; used for an automatic box.
    ctf
        Of the micrograph, or (n,) of each particle; needed where `settings.ctf` is not ``none``.
    settings
        Sizes and what is done to the grey levels.
    device
        ``cpu``, ``cuda:N`` or ``torch-cpu``.

    Raises
    ------
    MissingMetadataError
        Neither box nor diameter, no positive pixel size, or no CTF where it is to be applied.
    SettingsError
        Sizes that contradict each other or the micrograph.
    InputError
        Not one image, or coordinates of unequal number or not finite.
    """
    settings = settings or ExtractSettings()
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size is {pixel_size}", "A per pixel", "Give --pixel-size"
        )
    box = choose_box(settings, pixel_size=pixel_size, diameter=diameter, voltage=voltage)
    wide = choose_ctf_box(settings, box)
    cleaned, flags = clean_image(image)
    ny, nx = cleaned.shape
    if box > 2 * min(ny, nx):
        raise SettingsError(
            f"A box of {box} pixels is over twice the micrograph of {nx} x {ny}",
            "a smaller box",
            "Check the diameter, which is in A, and the pixel size",
        )
    true_y, true_x = numbers_yx(y, x)
    kept, more = which_fit(true_y, true_x, box, (ny, nx), settings.edge)
    flags += more
    # RELION casts to int, which truncates.
    centre_y = np.trunc(true_y[kept]).astype(np.intp)
    centre_x = np.trunc(true_x[kept]).astype(np.intp)
    parameters = _parameters(ctf, settings, len(true_y), kept)
    finishers = [
        _Finisher(len(kept), *size, box * pixel_size, settings)
        for size in _sizes(settings, box, pixel_size)
    ]
    source = to_device(cleaned, device)
    step = max(1, (_CHUNK if device == "cpu" else _CHUNK_DEVICE) // wide**2)
    transfer = _Transfer(parameters, settings, wide, pixel_size, device) if parameters else None
    # What lies outside is the mean to the CTF: a border repeated far out makes streaks, which it
    # would spread over the particle.
    fill = float(cleaned.mean(dtype=np.float64)) if transfer else None

    def work(start: int) -> None:
        part = slice(start, min(start + step, len(kept)))
        cy, cx = centre_y[part], centre_x[part]
        # What needs no resampling is cut to where it stays.
        direct = finishers[0].images[part] if finishers[0].size == wide else None
        windows = cut(source, cy, cx, wide, fill=fill, out=direct)
        if transfer is not None:
            windows = repeat_border(correct_ctf(windows, transfer(part)), cy, cx, (ny, nx))
        if wide != box:
            windows = centre_crop(windows, box)
        # The larger one last: it may work in place.
        for finisher in finishers[::-1]:
            finisher.add(windows, part, list(zip(cy.tolist(), cx.tolist(), strict=True)))

    _for_each(work, range(0, len(kept), step), get_threads() if device == "cpu" else 1)
    stack = ParticleStack(
        images=finishers[0].images,
        pixel_size=finishers[0].pixel_size,
        extract_box=box,
        y=centre_y,
        x=centre_x,
        origin_y=(centre_y - true_y[kept]) * pixel_size,
        origin_x=(centre_x - true_x[kept]) * pixel_size,
        kept=kept,
        n_dropped=len(true_y) - len(kept),
        flags=flags + finishers[0].flags(),
        ctf=settings.ctf,
    )
    if len(finishers) == 1:
        return stack
    small = replace(stack, images=finishers[1].images, pixel_size=finishers[1].pixel_size)
    return replace(stack, small=small)


def _sizes(settings: ExtractSettings, box: int, pixel_size: float) -> list[tuple[int, float]]:
    """Return side and pixel size of the particles, and those of the small ones if wanted."""
    sizes = [binned_box(settings, box, pixel_size)]
    if settings.small_bin_to is not None:
        small = ExtractSettings(bin_to=settings.small_bin_to)
        sizes.append(binned_box(small, box, pixel_size))
        if sizes[1][0] >= sizes[0][0]:
            raise SettingsError(
                f"The small particles of {sizes[1][0]} pixels are not smaller than {sizes[0][0]}",
                f"small_bin_to above {sizes[0][1]:.4g} A",
            )
    return sizes


def _parameters(
    ctf: CtfParameters | Sequence[CtfParameters] | None,
    settings: ExtractSettings,
    n: int,
    kept: AnyArray,
) -> list[CtfParameters]:
    """Return the CTF of all particles, or of each one that is kept; empty if none is applied."""
    if settings.ctf == "none":
        return []
    if ctf is None:
        raise MissingMetadataError(
            f"The CTF is to be applied (ctf = {settings.ctf}), and it is not known",
            "the CTF of the micrograph",
            "Give --ctf micrographs_ctf.star",
        )
    if isinstance(ctf, CtfParameters):
        return [ctf]
    if len(ctf) != n:
        raise InputError(f"{len(ctf)} CTFs for {n} coordinates", "one for each")
    return [ctf[i] for i in kept.tolist()]


def _for_each(work: Callable[[int], None], starts: Sequence[int], threads: int) -> None:
    """Call `work` for all; NumPy lets go of the interpreter in what takes time."""
    if min(threads, len(starts)) < 2:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, starts):
            pass


class _Transfer:
    """What the transforms of windows are multiplied by."""

    def __init__(
        self,
        parameters: Sequence[CtfParameters],
        settings: ExtractSettings,
        wide: int,
        pixel_size: float,
        device: str,
    ) -> None:
        self._parameters, self._flips = parameters, settings.ctf == "flip"
        self._planes = CtfPlanes(wide, pixel_size, device)
        self._same = self._make(parameters) if len(parameters) == 1 else None

    def __call__(self, part: slice) -> Tensor:
        return self._make(self._parameters[part]) if self._same is None else self._same

    def _make(self, parameters: Sequence[CtfParameters]) -> Tensor:
        ctf = self._planes(parameters)
        return signs(ctf) if self._flips else ctf


class _Finisher:
    """Turns windows into the particles of one size."""

    def __init__(
        self, n: int, size: int, pixel_size: float, width: float, settings: ExtractSettings
    ) -> None:
        self.size, self.pixel_size, self._settings = size, pixel_size, settings
        self.images = np.empty((n, size, size), dtype=np.float32)
        # By the first particle of each part, since parts are worked on at the same time.
        self._flat: dict[int, int] = {}
        self._dust: dict[int, int] = {}
        radius = 0.5 * (settings.background_diameter or 0.75 * width) / pixel_size
        self._cleans = settings.white_dust is not None or settings.black_dust is not None
        used = settings.normalise or self._cleans
        self._background = Background(size, radius) if used else None

    def add(self, windows: Tensor, part: slice, places: list[tuple[int, int]]) -> None:
        """Fill the images `part` from windows (n, box, box), which may be changed in place."""
        choice = self._settings
        images = fourier_crop(windows, self.size)
        if self._cleans and self._background is not None:
            host, count = remove_dust(
                to_numpy(images),
                self._background.mask,
                places,
                white=choice.white_dust,
                black=choice.black_dust,
            )
            self._dust[part.start] = count
            images = host if isinstance(images, np.ndarray) else images.new_tensor(host)
        if choice.normalise and self._background is not None:
            images, flat = normalise(images, self._background, invert=choice.invert)
            self._flat[part.start] = flat
        elif choice.invert:
            images = -images
        target, host = self.images[part], to_numpy(images)
        if not np.shares_memory(target, host):
            target[:] = host

    def flags(self) -> tuple[str, ...]:
        """Return what there is to say."""
        flags: tuple[str, ...] = ()
        if dust := sum(self._dust.values()):
            flags += (f"{dust} pixels of dust replaced",)
        if flat := sum(self._flat.values()):
            flags += (f"{flat} particles have no variation and were not normalised",)
        return flags
