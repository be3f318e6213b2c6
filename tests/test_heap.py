"""Free memory between memory in use goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import numpy as np, psutil
from icefloe.engine.heap import give_back
process = psutil.Process()
blocks = [np.ones(8000) for _ in range(2000)]  # of 64 kB, side by side
blocks = blocks[::2]
before = process.memory_info().rss
give_back()
print((before - process.memory_info().rss) / 1e6, blocks[999].sum())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux")
def test_holes_are_given_back() -> None:
    # In a process of its own: nobody knows what else lies in this one's memory.
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    returned, kept = map(float, done.stdout.split())
    assert 45 < returned < 70
    assert kept == 8000
