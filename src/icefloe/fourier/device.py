"""Where arrays live, and how many threads work on them.

``"cpu"`` means NumPy arrays, SciPy transforms and compiled kernels; ``"cuda:N"`` means torch
tensors on that card; ``"torch-cpu"`` is the accelerator's code path on the CPU, for tests.
torch is imported only where an accelerator is asked for: its import costs over a second.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from icefloe._types import AnyArray, Tensor
from icefloe.errors import DeviceError, SettingsError

__all__ = ["get_threads", "is_tensor", "resolve_device", "set_threads", "to_device", "to_numpy"]

_threads = 0


def get_threads() -> int:
    """Return the number of threads that transforms and kernels use."""
    return (
        _threads or len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else (_threads or os.cpu_count() or 1)
    )


def set_threads(threads: int) -> None:
    """Use this many threads in transforms and kernels; 0 means all cores that are allowed."""
    if threads < 0:
        raise SettingsError(f"--threads is {threads}", "0 (all cores) or a positive number")
    global _threads
    _threads = threads
    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(min(get_threads(), numba.config.NUMBA_NUM_THREADS))
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(get_threads())


def resolve_device(name: str) -> str:
    """Return the device that `name` means on this machine.

    Parameters
    ----------
    name
        ``auto`` (the first card if there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    DeviceError
        The card asked for is not there, or torch is not installed.
    """
    if name in ("cpu", "torch-cpu"):
        return name
    if name == "auto":
        # Looking for the driver's file spares machines without a card the import of torch.
        if not Path("/dev/nvidiactl").exists():
            return "cpu"
        try:
            torch = _torch()
        except DeviceError:
            return "cpu"
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind != "cuda" or (index and not index.isdigit()):
        raise SettingsError(f"--device is '{name}'", "auto, cpu or cuda:N")
    torch = _torch()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise DeviceError(
            f"The device '{name}' was asked for, and torch sees {count} CUDA devices",
            hint="Use --device cpu, or install a CUDA build of torch",
        )
    return f"cuda:{index or 0}"


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise DeviceError(
            "An accelerator was asked for, but torch is not installed",
            hint="pip install 'icefloe[torch]', or use --device cpu",
        ) from None
    return torch


def is_tensor(array: Tensor) -> bool:
    """Return whether `array` is a torch tensor, without importing torch."""
    return not isinstance(array, np.ndarray) and "torch" in sys.modules and hasattr(array, "device")


def to_device(array: AnyArray, device: str) -> Tensor:
    """Return `array` as NumPy for ``cpu``, else as a torch tensor on the device."""
    if device == "cpu":
        return np.asarray(array)
    torch = _torch()
    host = np.ascontiguousarray(array)
    if host.dtype == np.uint16:  # torch computes little in uint16
        host = host.astype(np.int32)
    return torch.from_numpy(host).to("cpu" if device == "torch-cpu" else device)


def to_numpy(array: Tensor) -> AnyArray:
    """Return a NumPy array with the same values, on the host."""
    if is_tensor(array):
        host: AnyArray = array.detach().cpu().numpy()
        return host
    return np.asarray(array)
