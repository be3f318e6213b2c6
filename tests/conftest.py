"""Settings and data that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# One core may be busy with another test: no deadline. Derandomised, so that a run is repeatable.
settings.register_profile("icefloe", deadline=None, derandomize=True, print_blob=False)
settings.load_profile("icefloe")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real micrographs beside the checkout, where it is there."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real micrographs (../shared/data) are not here")
    return folder
