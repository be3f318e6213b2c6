"""Gives memory that is free back to the system.

Arrays of many sizes come and go with each exposure, and the C library keeps what they leave. What
is in use stays the same, but where a free block is too small for the next array the process grows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import cache

__all__ = ["give_back"]


def give_back() -> None:
    """Give the system the pages that nothing lies in; does nothing where the C library cannot."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    with suppress(OSError, AttributeError):
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
        return trim
    return None
