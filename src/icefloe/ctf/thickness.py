"""The thickness of the specimen from the node of its Thon rings.

The top of a specimen has another defocus than its bottom, so its rings fade where the two differ
by a whole ring, and come back inverted:
``mean CTF^2 = (1 - sinc(pi lambda t g^2) cos 2 chi) / 2`` with ``sinc(u) = sin(u) / u`` and the
first node at ``t = 1 / (lambda g^2)``. McMullan, Vinothkumar & Henderson (2015), Ultramicroscopy
158, 26; Tichelaar et al. (2020), 216, 113023; Elferich, Kong, Zottig & Grigorieff (2024), eLife
13:RP97227.

The average along lines of equal phase is fitted by ``b(g) - E(g) sinc cos 2 chi``, in which b is a
spline with knots at least two rings apart, and E, the modulation, a positive sum of a few wide
ones. For every thickness and defocus the best E is found in closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from icefloe._types import FloatArray
from icefloe.ctf.curves import equiphase_frequency
from icefloe.ctf.samples import Optics, take_samples
from icefloe.ctf.spectrum import Spectrum
from icefloe.errors import SettingsError
from icefloe.optics import CtfParameters, wavelength

__all__ = ["NO_NODE", "ThicknessFit", "estimate_thickness"]

# The flag of rings that fade nowhere: the specimen is too thin for the resolution.
NO_NODE = "no thickness node in range"
_UNDECIDED = "thickness not decided by the data"
# A: what is tried around the defocus of a thin specimen, and the steps of both.
_DEFOCUS_RANGE, _DEFOCUS_STEP, _THICKNESS_STEP = 1500.0, 75.0, 100.0
# Wide splines of the modulation.
_MODULATION = 4
# Fall of chi^2 from no thickness from which a node is believed.
_SIGNIFICANT = 25.0
# Relative error from which a thickness is no result.
_WORST = 0.2
# Rise of chi^2 that excludes a thickness with 97.5 % on one side.
_TWO_SIGMA = 3.84


@dataclass(frozen=True)
class ThicknessFit:
    """A thickness and how far to trust it.

    Attributes
    ----------
    thickness, error
        A; the error is a standard error. Both are NaN where a flag says that there is no node.
    upper
        A; thicknesses above it are excluded at two standard deviations; NaN where none is.
    defocus, defocus_error
        Mean defocus that fits best together with it, A.
    node
        Resolution of the first node, A.
    gain
        Fall of chi^2 from a thin specimen.
    curves
        Frequency (1/A), equiphase average with its background taken out, and the fit: each (r,).
    flags
        Empty for a measured thickness.
    """

    thickness: float
    error: float
    upper: float
    defocus: float
    defocus_error: float
    node: float
    gain: float
    curves: tuple[FloatArray, FloatArray, FloatArray]
    flags: tuple[str, ...] = ()

    def numbers(self) -> dict[str, Any]:
        """Return the JSON-able figures; None stands for a value that does not exist."""
        plain = {
            "thickness": self.thickness,
            "thickness_error": self.error,
            "thickness_upper": self.upper,
            "defocus": self.defocus,
            "defocus_error": self.defocus_error,
            "node_resolution": self.node,
            "gain": self.gain,
        }
        out: dict[str, Any] = {k: float(v) if math.isfinite(v) else None for k, v in plain.items()}
        out["flags"] = list(self.flags)
        return out


def estimate_thickness(
    spectrum: Spectrum,
    start: CtfParameters,
    *,
    low_resolution: float = 30.0,
    high_resolution: float = 3.0,
    thickness_range: tuple[float, float] = (200.0, 5000.0),
) -> ThicknessFit:
    """Return the thickness that the rings of a spectrum show.

    Parameters
    ----------
    spectrum
        From `power_spectrum`.
    start
        The fit for a thin specimen; astigmatism and phase shift are kept.
    low_resolution, high_resolution
        Fitted range, A.
    thickness_range
        What is tried, A.

    Raises
    ------
    SettingsError
        A range is empty or holds too few rings.
    """
    if not 0 < thickness_range[0] < thickness_range[1]:
        raise SettingsError(f"The range of thickness is {thickness_range} A", "0 < low < high")
    profile = _Profile(spectrum, start, low_resolution, high_resolution)
    low, high = thickness_range
    tried = np.arange(low, high + 1, _THICKNESS_STEP)
    steps = round(_DEFOCUS_RANGE / _DEFOCUS_STEP)
    defoci = start.defocus + _DEFOCUS_STEP * np.arange(-steps, steps + 1)
    cost = np.array([[profile.cost(d, t) for d in defoci] for t in tried])
    flat = np.array([profile.cost(d, 0.0) for d in defoci])
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    thin_defocus, _ = profile.minimise(float(defoci[np.argmin(flat)]), None)
    defocus, thickness = profile.minimise(float(defoci[column]), float(tried[row]))
    unit = profile.unit(defocus, thickness)
    least = profile.cost(defocus, thickness)
    gain = (profile.cost(thin_defocus, 0.0) - least) / unit
    errors = profile.errors(defocus, thickness, unit)
    flags: tuple[str, ...] = ()
    if gain < _SIGNIFICANT:
        flags = (NO_NODE,)
    elif not errors[1] < _WORST * thickness or not low < thickness < high:
        flags = (_UNDECIDED,)
    if flags:
        fitting = tried[cost.min(axis=1) - least < _TWO_SIGMA * unit]
        # None fits where the best is thinner than all that are tried.
        upper = float(fitting[-1]) if len(fitting) else low
        return ThicknessFit(
            thickness=math.nan,
            error=math.nan,
            upper=upper if upper < tried[-1] else math.nan,
            defocus=thin_defocus,
            defocus_error=math.nan,
            node=math.nan,
            gain=gain,
            curves=(profile.k, profile.data, profile.model(thin_defocus, 0.0)),
            flags=flags,
        )
    return ThicknessFit(
        thickness=thickness,
        error=errors[1],
        upper=thickness + 2 * errors[1],
        defocus=defocus,
        defocus_error=errors[0],
        node=math.sqrt(wavelength(start.voltage) * thickness),
        gain=gain,
        curves=(profile.k, profile.data, profile.model(defocus, thickness)),
    )


class _Profile:
    """The equiphase average, and the chi^2 of a defocus and a thickness with all else at best."""

    def __init__(
        self, spectrum: Spectrum, start: CtfParameters, low_resolution: float, high: float
    ) -> None:
        samples = take_samples(spectrum, low_resolution, high)
        self.optics = Optics(start.voltage, start.cs, start.amplitude_contrast)
        self.lam = wavelength(start.voltage)
        self.phase = 2 * math.radians(start.phase_shift)
        azimuth = 0.5 * np.arctan2(samples.sin2, samples.cos2)
        position = equiphase_frequency(samples.k2, azimuth, start) / samples.step
        bins = np.rint(position - samples.ring_k[0] / samples.step).astype(np.intp)
        inside = (bins >= 0) & (bins < len(samples.ring_k))
        n = len(samples.ring_k)
        count = np.bincount(bins[inside], minlength=n)
        used = count > 0
        power = np.exp(samples.log_power[inside])
        mean = np.bincount(bins[inside], power, minlength=n)[used] / count[used]
        self.k, self.weight = samples.ring_k[used], count[used].astype(np.float64)
        rings = self.lam * abs(start.defocus) * (self.k[-1] ** 2 - self.k[0] ** 2)
        background = _splines(self.k, int(np.clip(rings / 2, 2, 10)))
        root = np.sqrt(self.weight)[:, None]
        self.basis = np.linalg.qr(background * root)[0] / root
        # Twice: a background of the logarithm, to divide by, and what of it is left.
        smooth = np.exp(np.log(mean) - self.project(np.log(mean)))
        self.data = self.project(mean / smooth - 1)
        self.modulation = _splines(self.k, _MODULATION)

    def project(self, values: FloatArray) -> FloatArray:
        """Return values (r,) or (r, p) without what the background could describe."""
        weighted = self.basis * self.weight[:, None]
        return np.asarray(values - self.basis @ (weighted.T @ values))

    def columns(self, defocus: float, thickness: float) -> FloatArray:
        """Return the rings under each part of the modulation, (r, p)."""
        k2 = np.square(self.k)
        wave = -np.cos(self.optics.double_phase(k2, defocus) + self.phase)
        wave = wave * np.sinc(self.lam * thickness * k2)
        return self.project(self.modulation * wave[:, None])

    def model(self, defocus: float, thickness: float) -> FloatArray:
        """Return the fitted curve (r,)."""
        return self._solve(defocus, thickness)[0]

    def cost(self, defocus: float, thickness: float) -> float:
        """Return the weighted sum of squares that is left."""
        return self._solve(defocus, thickness)[1]

    def _solve(self, defocus: float, thickness: float) -> tuple[FloatArray, float]:
        from scipy.optimize import nnls  # slow to import

        columns = self.columns(defocus, thickness)
        root = np.sqrt(self.weight)
        strength, norm = nnls(columns * root[:, None], self.data * root)
        return columns @ strength, float(norm) ** 2

    def minimise(self, defocus: float, thickness: float | None) -> tuple[float, float]:
        """Return the best defocus, and thickness unless that is None: 0, near a start."""
        from scipy.optimize import minimize

        if thickness is None:
            best = minimize(lambda p: self.cost(p[0], 0.0), [defocus], method="Nelder-Mead")
            return float(best.x[0]), 0.0
        first = np.array([[0, 0], [_DEFOCUS_STEP, 0], [0, _THICKNESS_STEP]]) / 2
        best = minimize(
            lambda p: self.cost(p[0], abs(p[1])),
            [defocus, thickness],
            method="Nelder-Mead",
            options={"initial_simplex": np.array([defocus, thickness]) + first, "xatol": 0.5},
        )
        return float(best.x[0]), abs(float(best.x[1]))

    def unit(self, defocus: float, thickness: float) -> float:
        """Return the noise's part in `cost` of one degree of freedom.

        The mean square of what is left, times the correlation of neighbouring rings: what the
        model cannot describe is no independent noise.
        """
        rest = (self.data - self.model(defocus, thickness)) * np.sqrt(self.weight)
        free = len(rest) - self.basis.shape[1] - self.modulation.shape[1] - 2
        energy = float(rest @ rest)
        lags = [float(rest[i:] @ rest[:-i]) / energy for i in (1, 2)]
        shared = 1.0 + 2 * sum(max(lag, 0.0) for lag in lags)
        return float(energy / max(free, 1) * shared)

    def errors(self, defocus: float, thickness: float, unit: float) -> tuple[float, float]:
        """Return the standard errors of both from the curvature of the cost."""
        step = np.array([20.0, 20.0])
        at = np.array([defocus, thickness])
        hessian = np.empty((2, 2))
        for i in range(2):
            for j in range(2):
                a, b = np.eye(2)[i] * step, np.eye(2)[j] * step
                corners = (at + a + b, at + a - b, at - a + b, at - a - b)
                c = [self.cost(float(p[0]), float(p[1])) for p in corners]
                hessian[i, j] = (c[0] - c[1] - c[2] + c[3]) / (4 * step[i] * step[j])
        try:
            covariance = np.linalg.inv(hessian / (2 * unit))
        except np.linalg.LinAlgError:
            return math.inf, math.inf
        variance = np.diag(covariance)
        if not np.all(variance > 0):
            return math.inf, math.inf
        return float(np.sqrt(variance[0])), float(np.sqrt(variance[1]))


def _splines(k: FloatArray, intervals: int) -> FloatArray:
    """Return cubic B-splines (r, intervals + 3) over the fitted range."""
    from scipy.interpolate import BSpline  # slow to import

    inner = np.linspace(k[0], k[-1] * (1 + 1e-9), intervals + 1)
    knots = np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3]
    return np.asarray(BSpline.design_matrix(k, knots, 3).toarray())
