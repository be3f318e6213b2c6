"""Blocks of work over threads, each block on one: the result does not depend on their number."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import ThreadpoolController

from icefloe.fourier import get_threads

__all__ = ["in_threads"]


def in_threads(work: Callable[[slice], None], n: int, block: int) -> None:
    """Call `work` with slices that cover 0 to n, `block` long, on all threads.

    Products of matrices run on one thread inside: many small ones are faster so than each on all
    threads, most of all on a busy machine, and sums are always taken in the same order.
    """
    parts = [slice(start, min(start + block, n)) for start in range(0, n, block)]
    with _libraries().limit(limits=1, user_api="blas"):
        if get_threads() == 1 or len(parts) < 2:
            for part in parts:
                work(part)
            return
        with ThreadPoolExecutor(get_threads()) as pool:
            list(pool.map(work, parts))


@functools.cache
def _libraries() -> ThreadpoolController:
    # Looking for the libraries of a process takes as long as a block of work; NumPy's is loaded.
    return ThreadpoolController()
