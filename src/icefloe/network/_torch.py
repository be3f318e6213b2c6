"""torch, or one clear error where it is not installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager

from icefloe.errors import DeviceError
from icefloe.fourier import get_threads

__all__ = ["network_installed", "require_torch", "threads_for_torch"]


def network_installed() -> bool:
    """Return whether what a network needs is installed."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]


def require_torch(what: str = "The neural picker", instead: str = "use icefloe pick auto") -> None:
    """Raise if a network cannot run.

    Parameters
    ----------
    what, instead
        What needs it, and what else a user can do.

    Raises
    ------
    DeviceError
        torch or safetensors is not installed.
    """
    missing = _missing()
    if missing:
        raise DeviceError(
            f"{what} needs {' and '.join(missing)}, which is not installed",
            hint=f"pip install 'icefloe[torch]', or {instead}",
        )
    # Threads that wait for each other by spinning take minutes for seconds' work where another
    # program uses the same cores. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def threads_for_torch(threads: int | None = None) -> Iterator[None]:
    """Let torch use as many threads as all else does, or so many, for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or get_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)
