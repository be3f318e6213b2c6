"""Micrographs that the network's tests share."""

from __future__ import annotations

import numpy as np


def dots(n=40, side=768, diameter=48.0, noise=1.0, seed=0):
    """A micrograph of dark balls in noise, 1 A a pixel, with their centres."""
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < n:
        place = rng.uniform(diameter, side - diameter, 2)
        if all(np.hypot(*(place - p)) > 1.3 * diameter for p in places):
            places.append(place)
    y, x = np.mgrid[:side, :side]
    image = rng.normal(0, noise, (side, side))
    for v, u in places:
        r = np.hypot(y - v, x - u) / (diameter / 2)
        image -= np.sqrt(np.clip(1 - r**2, 0, None))
    return image.astype(np.float32), np.array(places)
