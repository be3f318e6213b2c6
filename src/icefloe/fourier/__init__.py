"""Transforms on the right device, crop and pad, frequency grids, averages and filters.

Every function takes a NumPy array (CPU, scipy.fft) or a torch tensor (the tensor's device) and
returns the same kind.
"""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
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
    from icefloe.fourier.inplace import irfft2_window, rfft2_in_place
    from icefloe.fourier.radial import rotational_average
    from icefloe.fourier.transforms import irfft2, rfft2
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "crop_rfft": "crop",
            "resize": "crop",
            "get_threads": "device",
            "is_tensor": "device",
            "resolve_device": "device",
            "set_threads": "device",
            "to_device": "device",
            "to_numpy": "device",
            "apply_filter": "filters",
            "band_pass": "filters",
            "bfactor_filter": "filters",
            "gaussian_low_pass": "filters",
            "fast_size": "grids",
            "frequency_axes": "grids",
            "frequency_grid": "grids",
            "shift_phases": "grids",
            "irfft2_window": "inplace",
            "rfft2_in_place": "inplace",
            "rotational_average": "radial",
            "irfft2": "transforms",
            "rfft2": "transforms",
        },
    )

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
    "irfft2_window",
    "is_tensor",
    "resize",
    "resolve_device",
    "rfft2",
    "rfft2_in_place",
    "rotational_average",
    "set_threads",
    "shift_phases",
    "to_device",
    "to_numpy",
]
