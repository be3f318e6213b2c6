"""Names that a package offers and imports only when they are first used.

The stages' packages offer their settings beside functions that need numba or SciPy; a command that
only reads settings (`status`, `init`) should not wait a second or two for those.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module-level ``__getattr__`` (PEP 562).

    Parameters
    ----------
    package
        The package's ``__name__``.
    modules
        For each name the module, relative to the package, that defines it.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
