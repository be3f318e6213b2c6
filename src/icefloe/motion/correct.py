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
from icefloe.fourier import to_device
from icefloe.motion.align import align
from icefloe.motion.defects import find_outliers
from icefloe.motion.doses import accumulated_doses, dose_components, stated_doses
from icefloe.motion.groups import (
    alignment_groups,
    bin_groups,
    expand_field,
    group_doses,
    group_moments,
)
from icefloe.motion.integrate import integrate
from icefloe.motion.judge import judge, shared_pattern
from icefloe.motion.prepare import (
    bin_factor,
    check_facts,
    load_frames,
    reference,
    total_counts,
)
from icefloe.motion.result import MotionResult
from icefloe.motion.settings import MotionSettings
from icefloe.motion.spectrum import TileSpectrum, frame_groups
from icefloe.motion.usable import check_frames, runs

__all__ = ["correct_motion"]


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
        fraction, doses from a file).
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
    every_dose = stated_doses(dose_per_frame, frame_dose_factors, n_total)
    stated = every_dose[first - 1 : first - 1 + n].copy()

    with clock("defects"):
        gain32, bad = reference(gain, defects, shape)
        del gain  # as large as a sum; the caller may have let go of it
        check = check_frames(stack, stated, first)
        flags = list(check.flags)
        every_dose[first - 1 : first - 1 + n] *= check.dose_factors
        doses = every_dose[first - 1 : first - 1 + n]
        device_stack = stack if device == "cpu" else to_device(stack, device)
        halves, numbers = _half_sums(device_stack, gain32, check.used)
        total = halves[0] + halves[1]
        if not np.isfinite(total.min() + total.max()):
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
        hot |= dead
        bad |= hot
        outliers = np.argwhere(hot)
        gain32[bad] = 0
        pattern = shared_pattern(*halves, bad, numbers)
        del total, halves, hot, dead
        if np.count_nonzero(bad) > 0.01 * bad.size:
            flags.append(f"many bad pixels: {100 * np.mean(bad):.1f} %")

    with clock("bin"):
        factor = bin_factor(shape, pixel_size, settings.alignment_pixel_size)
        device_gain = to_device(gain32, device)
        chosen = None if settings.alignment_dose == "auto" else settings.alignment_dose
        # The specimen moves on while the beam is blanked: its clock runs on the stated dose.
        groups = alignment_groups(stated, check.used, chosen)
        binned, means = bin_groups(device_stack, device_gain, bad, factor, groups)

    with clock("align"):
        given = [binned]
        del binned
        fit, centres = align(
            given.pop(),  # nothing here holds the frames when their patches are cut
            shape,
            factor,
            pixel_size,
            (group_doses(stated, groups), group_moments(stated, groups)),
            settings,
            flags,
        )
        field = expand_field(fit.field, groups, stated)
        flags += judge(fit, pattern, pixel_size=pixel_size, max_shift=settings.max_shift)

    with clock("sum"):
        accumulated = accumulated_doses(
            every_dose, settings.pre_exposure, settings.dose_weighting_at
        )[first - 1 : first - 1 + n]
        components = dose_components(
            accumulated if settings.dose_weighting else None,
            n,
            pixel_size,
            voltage,
            amounts=doses,
            used=check.used,
        )
        spectrum_groups = frame_groups(doses, settings.power_spectrum_dose)
        spectrum = TileSpectrum.for_frames(shape, pixel_size, settings.power_spectrum_size)
        out_shape = _output_shape(shape, settings.binning)
        sums = integrate(
            device_stack,
            device_gain,
            bad,
            means,
            field,
            components,
            [g[check.used[g]] for g in spectrum_groups if check.used[g].any()],
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
        "frame_doses": [round(float(d), 6) for d in every_dose],
        "frames_left_out": [int(f) + first for f in np.flatnonzero(~check.used)],
        "alignment_groups": len(groups),
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
        hot_pixels=outliers,
        n_defects=int(np.count_nonzero(bad)),
        mean_correlation=fit.mean_correlation,
        predicted_error=fit.predicted_error,
        patch_residuals=fit.patch_residuals,
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


def _half_sums(
    stack: Tensor, gain: FloatArray, used: BoolArray
) -> tuple[tuple[FloatArray, FloatArray], tuple[int, int]]:
    # Gain-corrected sums of the first and second half of the frames, and of how many.
    order = np.cumsum(used) - 1
    middle = np.count_nonzero(used) // 2
    sums, numbers = [], []
    for part in (used & (order < middle), used & (order >= middle)):
        total = np.zeros(gain.shape, np.float32)
        for stretch in runs(part):
            total += total_counts(stack[stretch])
        total *= gain
        sums.append(total)
        numbers.append(int(np.count_nonzero(part)))
    return (sums[0], sums[1]), (numbers[0], numbers[1])


def _output_shape(shape: tuple[int, int], binning: float) -> tuple[int, int]:
    if binning == 1.0:
        return shape
    # Even, since RELION and most programs want that of binned micrographs.
    ny, nx = (max(2, 2 * round(n / binning / 2)) for n in shape)
    return ny, nx
