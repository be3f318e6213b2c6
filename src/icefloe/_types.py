"""Names for the array types that cross the package's borders."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["AnyArray", "BoolArray", "ComplexArray", "FloatArray", "FrameSource", "Tensor"]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
ComplexArray: TypeAlias = NDArray[np.complexfloating[Any, Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
AnyArray: TypeAlias = NDArray[Any]
# A NumPy array on the CPU or a torch tensor on an accelerator.
Tensor: TypeAlias = Any


class FrameSource(Protocol):
    """Frames of one movie, read when asked for: a (n, y, x) array or an open movie file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> AnyArray: ...
