"""Signal-to-noise of micrographs against the noise-free image, shell by shell, with its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUPS = 32


@dataclass(frozen=True)
class Shells:
    """Ratios in shells of frequency; of two images the first is compared with the second.

    Attributes
    ----------
    frequency
        (n,), 1/A, up to Nyquist.
    snr, error
        (images, n): power ratio of signal to noise, and its standard error.
    significance
        (images, n): the correlation with the noise-free image over its standard error.
    ratio, ratio_error
        (n,): of the first to the second, NaN for one image. Both hold the same electrons, so
        that the ratio is known better than either of its parts.
    advantage
        (n,): difference of the two correlations over its standard error, NaN for one image.
    """

    frequency: np.ndarray
    snr: np.ndarray
    error: np.ndarray
    significance: np.ndarray
    ratio: np.ndarray
    ratio_error: np.ndarray
    advantage: np.ndarray

    @property
    def measurable(self) -> np.ndarray:
        """(images, n), whether there is signal: a correlation above two standard errors."""
        return np.asarray(self.significance > 2)


def compare_shells(
    images: list[np.ndarray], clean: np.ndarray, pixel_size: float, n_shells: int = 48
) -> Shells:
    """Return the signal-to-noise ratios of images of one specimen.

    ``C |C| / (1 - C^2)`` with C the correlation of a shell with the noise-free image, as
    `icefloe.scoring.spectral_snr`; here negative where the correlation is, so that shells without
    signal scatter about zero. A filter by frequency changes nothing as long as it is even over a
    shell: dose weights and interpolation losses cancel.

    Errors are a jackknife: the coefficients of a shell are dealt into groups at random, and each
    group is left out in turn.
    """
    from icefloe.fourier import frequency_grid, rfft2, shift_phases
    from icefloe.scoring import estimate_shift

    shape = clean.shape
    window = _taper(shape)
    ring = np.rint(frequency_grid(shape, 1.0) * 2 * (n_shells - 1)).astype(np.int64)
    inside = ring < n_shells
    weight = np.full(ring.shape, 2.0)
    weight[:, 0] = 1.0
    group = np.random.default_rng(0).integers(0, GROUPS, ring.shape)
    cell = (ring * GROUPS + group)[inside]
    weight = weight[inside]

    def sums(values: np.ndarray) -> np.ndarray:
        total = np.bincount(cell, weight * values[inside], minlength=n_shells * GROUPS)
        return total.reshape(n_shells, GROUPS)

    truth = rfft2((clean - clean.mean(dtype=np.float64)) * window)
    parts = []
    for image in images:
        image = (image - image.mean(dtype=np.float64)) * window
        shift = estimate_shift(image, irfft(truth, shape))
        found, moved = rfft2(image), shift_phases(truth, shape, np.array(shift))
        parts.append(
            np.stack(
                [
                    sums((found * np.conj(moved)).real),
                    sums(np.abs(found) ** 2),
                    sums(np.abs(moved) ** 2),
                ]
            )
        )
    every = np.stack(parts)
    whole = _correlation(every.sum(-1))
    left_out = _correlation(every.sum(-1, keepdims=True) - every)
    spread = _jackknife(left_out)
    ratio = ratio_error = advantage = np.full(n_shells, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        if len(images) == 2:
            ratio = _snr(whole[0]) / _snr(whole[1])
            ratio_error = _jackknife(_snr(left_out[0]) / _snr(left_out[1]))
            advantage = (whole[0] - whole[1]) / _jackknife(left_out[0] - left_out[1])
        significance = whole / spread
    # Where the correlation is about zero the jackknife of its square is too small.
    error = np.hypot(_jackknife(_snr(left_out)), spread**2)
    frequency = np.arange(n_shells) / (2.0 * (n_shells - 1)) / pixel_size
    columns = (_snr(whole), error, significance, ratio, ratio_error, advantage)
    # The first shell holds the mean, which was taken off.
    return Shells(frequency[1:], *(c[..., 1:] for c in columns))


def irfft(spectrum: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image of a half-plane spectrum."""
    from icefloe.fourier import irfft2

    return np.asarray(irfft2(spectrum, (int(shape[0]), int(shape[1]))))


def _correlation(sums: np.ndarray) -> np.ndarray:
    cross, image, truth = np.moveaxis(sums, 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(cross / np.sqrt(image * truth)))


def _snr(c: np.ndarray) -> np.ndarray:
    return np.asarray(c * np.abs(c) / (1 - c**2))


def _jackknife(left_out: np.ndarray) -> np.ndarray:
    spread = np.mean((left_out - left_out.mean(-1, keepdims=True)) ** 2, axis=-1)
    return np.asarray(np.sqrt((GROUPS - 1) * spread))


def _taper(shape: tuple[int, ...]) -> np.ndarray:
    from scipy.signal.windows import tukey

    return np.outer(tukey(shape[0], 0.1), tukey(shape[1], 0.1))


def snr_table(shells: Shells, names: list[str], title: str) -> str:
    """Return shells as text: every one up to Nyquist, a ratio where both have signal."""
    lines = [f"{title}: spectral SNR and its standard error by shell"]
    head = "".join(f"{name:>10}{'+-':>10}" for name in names)
    two = len(names) == 2
    lines.append(f"{'A':>9}{head}" + (f"{'ratio':>10}{'+-':>8}" if two else ""))
    for i, k in enumerate(shells.frequency):
        text = f"{1 / k:9.2f}" + "".join(
            f"{s[i]:10.5f}{e[i]:10.5f}" for s, e in zip(shells.snr, shells.error, strict=True)
        )
        seen = [n for n, m in zip(names, shells.measurable[:, i], strict=True) if m]
        if not seen:
            text += "  no signal"
        elif two and len(seen) == 2:
            text += f"{shells.ratio[i]:10.3f}{shells.ratio_error[i]:8.3f}"
        elif two:
            text += f"  only {seen[0]} has signal"
        lines.append(text)
    lines.append("signal: the correlation with the truth is above two of its standard errors")
    if two:
        lines.append(_summary(shells, names))
    return "\n".join(lines)


def _summary(shells: Shells, names: list[str]) -> str:
    use = np.any(shells.measurable, axis=0)
    better, worse = use & (shells.advantage > 2), use & (shells.advantage < -2)
    where = ", ".join(f"{1 / k:.2f}" for k in shells.frequency[worse])
    return (
        f"{np.count_nonzero(use)} of {len(use)} shells have signal; {names[0]} is ahead by more "
        f"than two standard errors in {np.count_nonzero(better)}, {names[1]} in "
        f"{np.count_nonzero(worse)}" + (f" ({where} A)" if where else "")
    )
