"""Random numbers that depend on a name and a purpose, on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator", "key"]


def key(name: str, seed: int, purpose: str, index: int = 0) -> int:
    """Return a 63-bit key: equal arguments, equal key, on every machine."""
    text = f"{name}\0{seed}\0{purpose}\0{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(name: str, seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Return NumPy's PCG64 generator for that key."""
    return np.random.Generator(np.random.PCG64(key(name, seed, purpose, index)))
