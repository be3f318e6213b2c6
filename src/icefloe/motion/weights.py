"""How much each frequency tells of the motion, from the spectra themselves.

Frames of one specimen of power S(k) in noise of power N(k) have a likelihood that depends on their
shifts through the power of their aligned sum alone, with the weight

    W(k) = S / N^2 / (1 + n S / N)

for n frames: 1 / (n N) where the sum shows the specimen clearly, S / N^2 where it does not. CTF
zeros get no weight, strong Thon rings much.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from icefloe._types import FloatArray
from icefloe.fourier import is_tensor, to_numpy
from icefloe.kernels.correlate import ring_powers, ring_powers_torch
from icefloe.motion.patches import PatchSpectra

__all__ = ["likelihood_weight", "ring_weight"]


def ring_weight(frames: FloatArray, total: FloatArray, n: int) -> FloatArray:
    """Return W of each ring, largest 1; all zero where frames share nothing.

    Parameters
    ----------
    frames
        (R,), power of all n frames together.
    total
        (R,), power of their aligned sum.
    n
        Number of frames, at least 2.
    """
    # Only the signal makes frames correlate; one ring of smoothing keeps Thon rings apart.
    signal = gaussian_filter1d((total - frames) / (n * (n - 1)), 1.0, mode="nearest")
    mean = frames / n
    signal = np.clip(signal, 0, mean)
    noise = np.maximum(mean - signal, 1e-3 * mean + 1e-30)
    weight = signal / noise**2 / (1 + n * signal / noise)
    return np.asarray(weight / max(float(weight.max(initial=0)), 1e-300))


def likelihood_weight(patches: PatchSpectra, displacement: FloatArray) -> FloatArray:
    """Return the weight of each coefficient of a patch, (Y, X), float32, isotropic.

    Parameters
    ----------
    patches
        Spectra.
    displacement
        (P, F, 2), binned pixels, where the frames are thought to be.
    """
    k = np.hypot(patches.ky[:, None], patches.kx[None, :])
    size = min(patches.shape)
    # The last ring is all that lies beyond Nyquist, in the corners.
    last = size // 2 + 1
    rings = np.minimum(np.rint(k * size), last).astype(np.int64)
    n = int(patches.spectra.shape[1])
    powers = _powers(patches, rings, last + 1, displacement)
    count = np.maximum(np.bincount(rings.ravel(), minlength=last + 1), 1)
    weight = ring_weight(powers[0] / count, powers[1] / count, n)
    weight[last] = 0
    return np.asarray(weight[rings], dtype=np.float32)


def _powers(
    patches: PatchSpectra, rings: FloatArray, n_rings: int, displacement: FloatArray
) -> FloatArray:
    if is_tensor(patches.spectra):
        import torch

        device = patches.spectra.device
        ky, kx, index, places = (
            torch.from_numpy(np.ascontiguousarray(a)).to(device)
            for a in (patches.ky, patches.kx, rings, displacement)
        )
        found = ring_powers_torch(patches.spectra, ky, kx, index, n_rings, places)
        return np.asarray(to_numpy(found))
    result: FloatArray = ring_powers(
        patches.spectra, patches.ky, patches.kx, rings, n_rings, displacement
    )
    return result
