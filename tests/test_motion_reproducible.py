"""The same bytes whatever the number of threads, of this program or of the libraries it uses."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from icefloe.formats.mrc import write_mrc
from icefloe.formats.tiff import write_tiff_movie
from icefloe.simulate import SimulationSettings, simulate_movie

# The command as it is, and the result itself, since files hold the field with six digits only.
PROGRAM = """
import sys
import numpy as np
import icefloe.motion as motion
from icefloe.cli.motion import command
kept, correct = [], motion.correct_motion
def keep(*args, **kwargs):
    kept.append(correct(*args, **kwargs))
    return kept[-1]
motion.correct_motion = keep
command.main([*sys.argv[2:]], standalone_mode=False)
result = kept[0]
y, x = np.mgrid[0:600:50, 0:640:50]
frames = np.arange(len(result.field))[:, None, None]
np.savez(
    sys.argv[1], field=result.field.displacement(frames, y, x), shifts=result.global_shifts,
    micrograph=result.micrograph, plain=result.plain, even=result.even, odd=result.odd,
    spectrum=result.power_spectrum,
)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Correct one movie with so many threads; return arrays and the bytes of files by name."""
    folder = tmp_path_factory.mktemp("reproducible")
    settings = SimulationSettings(shape=(600, 640), n_frames=10, doming=2.0)
    movie = simulate_movie(settings, name="reproducible")
    write_tiff_movie(folder / "m.tiff", movie.frames, 1.0)
    write_mrc(folder / "gain.mrc", movie.gain, 1.0)
    # The output has one name in all runs, since files name one another.
    out, answer = folder / "out", folder / "answer.npz"

    def correct(threads, libraries):
        for path in out.glob("*"):
            path.unlink()
        names = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM")
        environment = os.environ | {f"{name}_NUM_THREADS": str(libraries) for name in names}
        environment["NUMBA_NUM_THREADS"] = str(threads)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, answer, folder / "m.tiff", "--out", out,
             "--gain", folder / "gain.mrc", "--dose-per-frame", "1.2", "--patches", "4x3",
             "--even-odd", "--device", "cpu", "--threads", str(threads)],
            env=environment, check=False, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(answer) as arrays:
            content = {name: arrays[name] for name in arrays}
        return content, {path.name: path.read_bytes() for path in out.iterdir()}

    return correct


@pytest.fixture(scope="module")
def reference(run):
    return run(threads=1, libraries=1)


def differing(a, b):
    assert set(a) == set(b)
    return [name for name in a if bytes(a[name]) != bytes(b[name])]


def test_threads_and_runs_do_not_change_a_byte(run, reference):
    arrays, files = reference
    assert {"m.mrc", "m_noDW.mrc", "m_EVN.mrc", "m_ODD.mrc", "m_PS.mrc", "m.star"} < set(files)
    assert np.ptp(arrays["field"]) > 1
    again = run(threads=2, libraries=1)
    assert not differing(arrays, again[0])
    assert not differing(files, again[1])


def test_threads_of_libraries_do_not_change_a_byte(run, reference):
    # BLAS rounds a matrix product another way with another number of threads.
    arrays, files = run(threads=2, libraries=4)
    assert not differing(reference[0], arrays)
    assert not differing(reference[1], files)
