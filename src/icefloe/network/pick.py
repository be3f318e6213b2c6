"""Particles that a trained network recognises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from icefloe._types import AnyArray, BoolArray, FloatArray
from icefloe.kernels.peaks import find_peaks
from icefloe.network._torch import require_torch
from icefloe.network.field import network_field
from icefloe.network.model import PickerModel
from icefloe.network.settings import EDGE, SAMPLES, NetworkSettings
from icefloe.network.weights import load_model
from icefloe.picking.result import Picks, weaker_count
from icefloe.picking.scored import power_of
from icefloe.picking.threshold import split_scores

__all__ = ["SMOOTHING", "field_peaks", "pick_network"]

# Sigma, in pixels of the field, by which the map of centres is smoothed before its peaks are
# taken: noise of single pixels neither moves nor doubles a pick.
SMOOTHING = 1.0
# Peaks lower than this are not worth looking at, and nothing is lost when they are left out.
_FAINT = 0.003
# Sigma, in diameters, of the Gaussian that sums up a particle's contrast.
_CONTRAST_BLUR = 0.25
# A model made for one particle is doubtful for one whose diameter differs by more than this.
_OTHER_SIZE = 0.25


def pick_network(
    image: FloatArray,
    *,
    pixel_size: float,
    diameter: float,
    model: PickerModel | None = None,
    settings: NetworkSettings | None = None,
    device: str = "cpu",
) -> Picks:
    """Find particles with a trained network.

    Parameters
    ----------
    image
        (ny, nx) micrograph, any real type.
    pixel_size, diameter
        A; the diameter is the particle's longest.
    model
        From `load_model` or `train_network`; by default the general one that Icefloe ships.
    settings
        Choices, all with defaults.
    device
        ``cpu`` or ``cuda:N``.

    Returns
    -------
    Picks
        Scores are probabilities that a pick is right; `contrast` and `power` are relative to the
        median pick.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    MissingMetadataError, SettingsError, InputError
        As `network_field`.
    """
    require_torch()
    settings = settings or NetworkSettings()
    model = model or load_model()
    field = network_field(
        image, pixel_size=pixel_size, diameter=diameter, bright=settings.contrast == "bright"
    )
    from icefloe.network.maps import answer_maps

    centres, _, flags = answer_maps(model, field.pixels, device)
    flags = (*_doubts(model, diameter), *field.flags, *flags)
    edge = EDGE if settings.edge is None else settings.edge
    positions, heights = field_peaks(centres, settings.min_distance, edge)
    if settings.edge is None and model.card.edge > EDGE:
        inside = field.from_border(positions) >= model.card.edge * SAMPLES
        positions, heights = positions[inside], heights[inside]
    scores = model.probability(heights)
    odds = np.log(heights / (1 - np.minimum(heights, 1 - 1e-6)))
    split = split_scores(odds - odds.min() if len(odds) else odds)
    keep = scores >= settings.threshold
    weak = np.flatnonzero(~keep)
    chosen = np.flatnonzero(keep)
    if settings.max_picks and len(chosen) > settings.max_picks:
        flags += (f"{len(chosen) - settings.max_picks} picks beyond max_picks left out",)
        chosen = chosen[: settings.max_picks]
    if not len(chosen):
        flags += ("no particles found",)
    plain = np.sinh(field.pixels[1])
    level, usual = _level(plain, positions[chosen])
    power = power_of(plain, SAMPLES)
    usual_power = float(np.median(_at(power, positions[chosen]) if len(chosen) else power))

    def picks(which: AnyArray) -> Picks:
        yx = field.outwards(positions[which])
        return Picks(
            y=yx[:, 0],
            x=yx[:, 1],
            score=scores[which],
            contrast=_at(level, positions[which]) / usual,
            diameter=np.full(len(which), float(diameter)),
            threshold=settings.threshold,
            separation=split.separation,
            diameter_range=(float(diameter), float(diameter)),
            shape="network",
            shape_yx=field.full,
            flags=flags,
            power=_at(power, positions[which]) / max(usual_power, 1e-12),
        )

    found = picks(chosen)
    if settings.max_picks:
        return found
    return replace(found, weaker=picks(weak[: weaker_count(len(found))]))


def field_peaks(
    centres: FloatArray, min_distance: float = 0.5, edge: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Return the peaks of a map of centres, best first.

    Parameters
    ----------
    centres
        (ny, nx) in 0..1, `SAMPLES` pixels a diameter.
    min_distance, edge
        Of two picks, and from the border, in diameters.

    Returns
    -------
    positions, heights : ndarray
        (n, 2) pixels of the map, and (n,).
    """
    smooth = gaussian_filter(centres, SMOOTHING, mode="nearest")
    allowed: BoolArray = np.zeros(smooth.shape, dtype=np.bool_)
    margin = round(edge * SAMPLES)
    allowed[margin : smooth.shape[0] - margin, margin : smooth.shape[1] - margin] = True
    return find_peaks(smooth, min_distance * SAMPLES, _FAINT, allowed)


def _doubts(model: PickerModel, diameter: float) -> tuple[str, ...]:
    made_for = model.card.diameter
    if made_for is None or abs(diameter / made_for - 1) <= _OTHER_SIZE:
        return ()
    return (f"the model was trained on particles of {made_for:g} A, not {diameter:g} A",)


def _level(plain: FloatArray, picked: FloatArray) -> tuple[FloatArray, float]:
    """Return how dark each place is, and what is usual for picks."""
    level = gaussian_filter(plain, _CONTRAST_BLUR * SAMPLES)

    usual = float(np.median(_at(level, picked))) if len(picked) else 0.0
    spread = 1.4826 * float(np.median(np.abs(level - np.median(level))))
    return level, max(usual, spread, 1e-12)


def _at(map_: FloatArray, positions: FloatArray) -> FloatArray:
    index = np.rint(positions).astype(np.intp)
    return np.asarray(map_[index[:, 0], index[:, 1]].astype(np.float64))
