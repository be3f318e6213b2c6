"""Transforms on the right device, crop and pad, frequency grids, averages and filters.

Every function takes a NumPy array (CPU, scipy.fft) or a torch tensor (the tensor's device) and
returns the same kind.
"""

from icefloe.fourier.crop import crop_rfft, resize
from icefloe.fourier.device import (
    get_threads,
    is_tensor,
    resolve_device,
    set_threads,
    to_device,
    to_numpy,
)
from icefloe.fourier.filters import apply_filter, band_pass, bfactor_filter, gaussian_low_pass
from icefloe.fourier.grids import fast_size, frequency_axes, frequency_grid, shift_phases
from icefloe.fourier.radial import rotational_average
from icefloe.fourier.transforms import irfft2, rfft2

__all__ = [
    "apply_filter",
    "band_pass",
    "bfactor_filter",
    "crop_rfft",
    "fast_size",
    "frequency_axes",
    "frequency_grid",
    "gaussian_low_pass",
    "get_threads",
    "irfft2",
    "is_tensor",
    "resize",
    "resolve_device",
    "rfft2",
    "rotational_average",
    "set_threads",
    "shift_phases",
    "to_device",
    "to_numpy",
]
