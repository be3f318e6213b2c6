"""Motion correction of one movie, from counts to micrograph."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from icefloe._types import AnyArray, BoolArray, FloatArray, FrameSource, Tensor
from icefloe.errors import (
    EmptyMovieError,
    InputError,
)
from icefloe.fourier import rfft2, to_device
from icefloe.motion.defects import find_outliers
from icefloe.motion.doses import dose_components
from icefloe.motion.field import MotionField
from icefloe.motion.fit import FieldFit, fit_field
from icefloe.motion.integrate import integrate
from icefloe.motion.patches import cut_patches, patch_grid
from icefloe.motion.prepare import (
    bin_factor,
    bin_frames,
    check_facts,
    load_frames,
    reference,
    total_counts,
)
from icefloe.motion.result import MotionResult
from icefloe.motion.settings import MotionSettings
from icefloe.motion.spectrum import TileSpectrum, frame_groups
from icefloe.motion.whole_frame import find_shifts

__all__ = ["correct_motion"]

# Correlation of neighbouring frames, at frequencies where specimens have nothing, that says they
# share a pattern of the detector, or are the same frame.
_PATTERN, _IDENTICAL = 0.005, 0.99
_SIGNIFICANT = 4.0
# A track this long, A, blurs the frames themselves.
_RUNAWAY = 200.0


def correct_motion(
    frames: FrameSource | AnyArray,
    *,
    pixel_size: float,
    dose_per_frame: float,
    voltage: float = 300.0,
    gain: FloatArray | None = None,
    defects: BoolArray | None = None,
    frame_dose_factors: FloatArray | None = None,
    settings: MotionSettings | None = None,
    device: str = "cpu",
    name: str = "",
) -> MotionResult:
    """Align the frames of a movie, whole and in patches, and add them up.

    Parameters
    ----------
    frames
        (n, ny, nx) counts: an array or an open movie, which is read once.
    pixel_size
        Of the frames, A.
    dose_per_frame
        e/A^2.
    voltage
        kV.
    gain
        (ny, nx), multiplied to every frame; zeros are bad pixels.
    defects
        (ny, nx), bool, pixels not to use.
    frame_dose_factors
        (n,), dose of each frame relative to `dose_per_frame`, where they differ (a shorter last
        fraction).
    settings
        Choices.
    device
        "cpu", "cuda:N", or "torch-cpu".
    name
        Of the exposure; seeds what replaces bad pixels.

    Raises
    ------
    SettingsError
        A pixel size, dose or voltage that is not positive; frames that are not there.
    EmptyMovieError, FrameShapeError, InputError
        Frames that cannot be used.
    GainShapeError, GainValueError, DefectError
        A gain or defect map that does not fit.
    """
    settings = settings or MotionSettings()
    check_facts(pixel_size, dose_per_frame, voltage)
    clock = _Clock()
    with clock("read"):
        movie = load_frames(frames, settings)
    stack, n_total, first = movie.stack, movie.n_total, settings.first_frame
    n, ny, nx = stack.shape
    shape = (int(ny), int(nx))
    factors = np.ones(n_total)
    if frame_dose_factors is not None:
        factors = np.asarray(frame_dose_factors, dtype=np.float64)
        if factors.shape != (n_total,):
            raise InputError(
                f"{factors.size} dose factors for {n_total} frames", "one for each frame"
            )
    every_dose = factors * dose_per_frame
    ends = settings.pre_exposure + np.cumsum(every_dose)[first - 1 : first - 1 + n]
    doses = every_dose[first - 1 : first - 1 + n]

    flags: list[str] = []
    with clock("defects"):
        gain32, bad = reference(gain, defects, shape)
        device_stack = stack if device == "cpu" else to_device(stack, device)
        total = total_counts(device_stack) * gain32
        if not np.isfinite(total).all():
            raise InputError(
                "The frames hold values that are not numbers", hint="Check or convert the movie"
            )
        hot, dead = find_outliers(total, bad, settings.hot_pixel_sigma)
        if np.count_nonzero(dead) > 0.05 * dead.size:
            raise EmptyMovieError(
                f"{np.count_nonzero(dead)} of {dead.size} pixels never count",
                "counts in most pixels",
                "Check the movie, its gain and its defect file",
            )
        outliers = hot | dead
        bad = bad | outliers
        gain32 = np.where(bad, np.float32(0), gain32)
        del total
        if np.count_nonzero(bad) > 0.01 * bad.size:
            flags.append(f"many bad pixels: {100 * np.mean(bad):.1f} %")

    with clock("bin"):
        factor = bin_factor(shape, pixel_size, settings.alignment_pixel_size)
        device_gain = to_device(gain32, device)
        binned, means = bin_frames(device_stack, device_gain, bad, factor)

    with clock("align"):
        pattern = _shared_pattern(stack, gain32)
        fit, centres = _align(binned, shape, factor, pixel_size, doses, settings, flags)
        del binned
        field = fit.field
        _judge(flags, fit, pattern, n, pixel_size)

    with clock("sum"):
        components = dose_components(
            ends if settings.dose_weighting else None, n, pixel_size, voltage
        )
        spectrum = TileSpectrum.for_frames(shape, pixel_size, settings.power_spectrum_size)
        out_shape = _output_shape(shape, settings.binning)
        sums = integrate(
            device_stack,
            device_gain,
            bad,
            means,
            field,
            components,
            frame_groups(doses, settings.power_spectrum_dose),
            spectrum,
            pixel_size=pixel_size,
            shape=out_shape,
            even_odd=settings.even_odd,
            seed=zlib.crc32(name.encode()),
        )
    facts = {
        "movie_pixel_size": float(pixel_size),
        "movie_shape": list(shape),
        "n_frames": int(n),
        "n_frames_total": int(n_total),
        "first_frame": int(first),
        "binning": float(settings.binning),
        "dose_per_frame": float(dose_per_frame),
        "pre_exposure": float(settings.pre_exposure),
        "voltage": float(voltage),
    }
    return MotionResult(
        micrograph=sums.micrograph,
        plain=sums.plain,
        power_spectrum=sums.power_spectrum,
        power_spectrum_pixel_size=spectrum.pixel_size,
        even=sums.even,
        odd=sums.odd,
        pixel_size=float(pixel_size * settings.binning),
        field=field,
        patch_centres=centres,
        hot_pixels=np.argwhere(outliers),
        n_defects=int(np.count_nonzero(bad)),
        mean_correlation=fit.mean_correlation,
        flags=tuple(flags),
        timings=clock.seconds,
        facts=facts,
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - begin


def _shared_pattern(stack: AnyArray, gain: FloatArray) -> float:
    # Mean correlation of neighbouring frames as recorded, where k > 0.4 cycles per pixel.
    n, ny, nx = stack.shape
    if n < 2:
        return 0.0
    h, w = min(ny, 512) // 2 * 2, min(nx, 512) // 2 * 2
    y, x = (ny - h) // 2, (nx - w) // 2
    window = (slice(y, y + h), slice(x, x + w))
    ky, kx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    ring = (ky**2 + kx**2 > 0.16) & (np.abs(ky) > 0.02) & (np.abs(kx) > 0.02)
    good = gain[window]
    previous = None
    cross = power = 0.0
    for frame in stack:
        values = rfft2(frame[window] * good)[ring]
        if previous is not None:
            cross += float(np.sum((values * previous.conj()).real, dtype=np.float64))
            power += 0.5 * float(
                np.sum(np.abs(values) ** 2 + np.abs(previous) ** 2, dtype=np.float64)
            )
        previous = values
    return cross / power if power else 0.0


def _align(
    binned: Tensor,
    shape: tuple[int, int],
    factor: int,
    pixel_size: float,
    doses: FloatArray,
    settings: MotionSettings,
    flags: list[str],
) -> tuple[FieldFit, FloatArray]:
    n = len(doses)
    grid = patch_grid(settings.patches, shape, pixel_size)
    if n == 1:
        flags.append("one frame: nothing to align")
        centre = np.array([[0.5 * (shape[0] - 1), 0.5 * (shape[1] - 1)]])
        return FieldFit(MotionField.still(shape, 1), 0.0, np.inf, True), centre
    if n == 2 and settings.patches != (1, 1):
        flags.append("two frames: whole-frame motion only")
        grid = (1, 1)
    shifts, converged = find_shifts(
        binned,
        pixel_size=pixel_size * factor,
        dose_per_frame=float(np.median(doses)),
        bfactor=settings.bfactor,
        max_shift=settings.max_shift,
    )
    if not converged:
        flags.append("whole-frame alignment did not converge")
    patches = cut_patches(binned, grid, shifts)
    fit = fit_field(
        patches,
        shape=shape,
        factor=factor,
        shifts=shifts * factor,
        grid=grid,
        pixel_size=pixel_size,
        doses=doses,
        bfactor=settings.bfactor_local,
        acceleration=settings.acceleration,
        local_motion=settings.local_motion,
        local_knots=settings.local_knots,
    )
    if not fit.converged:
        flags.append("the fit of the motion did not converge")
    return fit, patches.centres * factor + 0.5 * (factor - 1)


def _judge(flags: list[str], fit: FieldFit, pattern: float, n: int, pixel_size: float) -> None:
    if n < 2:
        return
    if pattern > _IDENTICAL:
        flags.append("identical frames")
        return
    if fit.significance < _SIGNIFICANT:
        flags.append("the frames share no signal: motion is not reliable")
    steps = np.diff(fit.field.global_shifts, axis=0) * pixel_size
    length = float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    if length > _RUNAWAY:
        flags.append(f"large motion: {length:.0f} A")
    if pattern > _PATTERN:
        flags.append(f"fixed pattern: {100 * pattern:.1f} % of the noise is the same in all frames")
        if np.abs(fit.field.global_shifts).max() < 0.25:
            flags.append("locked at zero: the frames may have moved unseen")


def _output_shape(shape: tuple[int, int], binning: float) -> tuple[int, int]:
    if binning == 1.0:
        return shape
    # Even, since RELION and most programs want that of binned micrographs.
    ny, nx = (max(2, 2 * round(n / binning / 2)) for n in shape)
    return ny, nx
