"""Topaz as an external program: its settings from a particle's diameter, its picks as ours.

Topaz (Bepler et al. 2019, Nature Methods 16, 1153) looks at images in which a particle is about as
large as half its network's receptive field, 71 pixels, and wants a radius in pixels of those. Both
follow from the diameter and the pixel size.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icefloe._types import AnyArray
from icefloe.errors import InputError, MissingMetadataError
from icefloe.formats.coordinates import Coordinates
from icefloe.formats.mrc import write_mrc
from icefloe.fourier import resize
from icefloe.interop.topaz import read_topaz

__all__ = ["TopazPlan", "find_topaz", "run_topaz", "topaz_plan", "write_reduced"]

_RECEPTIVE_FIELD = 71  # pixels, of its small networks


@dataclass(frozen=True)
class TopazPlan:
    """How Topaz is to look at micrographs.

    Attributes
    ----------
    scale
        By how much they are reduced.
    radius
        Of a particle, pixels of the reduced image: picks are farther apart than that.
    """

    scale: int
    radius: int


def topaz_plan(
    diameter: float, pixel_size: float, *, scale: int | None = None, radius: int | None = None
) -> TopazPlan:
    """Return scale and radius; the ones given are kept.

    Parameters
    ----------
    diameter
        Of the particles, A.
    pixel_size
        Of the micrographs, A.

    Raises
    ------
    MissingMetadataError
        One of them is not positive.
    """
    if not (diameter > 0 and pixel_size > 0):
        raise MissingMetadataError(
            f"The diameter is {diameter} A and the pixel size {pixel_size} A", "positive lengths"
        )
    pixels = diameter / pixel_size
    scale = scale or max(1, round(2 * pixels / _RECEPTIVE_FIELD))
    return TopazPlan(scale, radius or max(1, round(0.5 * pixels / scale)))


def find_topaz(executable: str | None = None, environment: Path | None = None) -> list[str]:
    """Return the command that starts Topaz.

    Parameters
    ----------
    executable
        A program or a path; ``topaz`` on the PATH without it.
    environment
        Directory of a Python environment (or its interpreter) in which Topaz is installed.

    Raises
    ------
    InputError
        There is none.
    """
    if environment is not None:
        if environment.is_file():
            return [str(environment), "-m", "topaz.main"]
        executable = str(environment / "bin" / "topaz")
    name = executable or "topaz"
    found = shutil.which(name)
    if found is None:
        where = "on the PATH" if executable is None else "there, or it cannot be started"
        raise InputError(
            f"There is no program {name} {where}",
            "an installed Topaz",
            "Install it in an environment of its own (python -m venv ENV; ENV/bin/pip install "
            "topaz-em) and give --python ENV",
        )
    return [found]


def write_reduced(
    path: Path, image: AnyArray, plan: TopazPlan, pixel_size: float
) -> tuple[float, float]:
    """Write a micrograph for Topaz; return by how much it was reduced in y and x.

    Fourier cropping keeps pixel 0 in place, so coordinates are only multiplied.
    """
    ny, nx = image.shape
    shape = (2 * round(0.5 * ny / plan.scale), 2 * round(0.5 * nx / plan.scale))
    small = image if plan.scale == 1 else resize(image, shape)
    write_mrc(path, np.asarray(small, dtype=np.float32), pixel_size * ny / small.shape[0])
    return ny / small.shape[0], nx / small.shape[1]


def run_topaz(
    command: Sequence[str],
    work: Path,
    names: Mapping[str, tuple[float, float]],
    plan: TopazPlan,
    *,
    model: str,
    threshold: float,
    gpu: int = -1,
) -> dict[str, Coordinates]:
    """Normalise and pick; return coordinates in pixels of the micrographs, by name.

    Parameters
    ----------
    command
        Of `find_topaz`.
    work
        Directory with ``NAME.mrc`` of `write_reduced`; results are written beside them.
    names
        The micrographs, with what `write_reduced` returned.
    plan
        Scale and radius.
    model
        A pretrained network's name, or a file.
    threshold
        Lowest score, a log-likelihood ratio.
    gpu
        Number of the card, -1 for the CPU.

    Raises
    ------
    InputError
        Topaz failed; its last words are in the message.
    """
    device = ["-d", str(gpu)]
    even, table = work / "normalised", work / "picks.txt"
    even.mkdir(exist_ok=True)
    images = [str(work / f"{name}.mrc") for name in names]
    _run([*command, "normalize", *device, "-o", f"{even}/", *images])
    options = ["-m", model, "-r", str(plan.radius), "-t", str(threshold), "-o", str(table)]
    images = [str(even / f"{name}.mrc") for name in names]
    _run([*command, "extract", *device, *options, *images])
    found = read_topaz(table)
    none = np.zeros(0)
    sets: dict[str, Coordinates] = {}
    for name, (fy, fx) in names.items():
        place = found.get(name, Coordinates(none, none, none))
        sets[name] = Coordinates(place.y * fy, place.x * fx, place.score)
    return sets


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise InputError(f"{command[0]} cannot be started ({error})") from error
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise InputError(
            f"Topaz ended with status {done.returncode}: {words[-1] if words else 'no message'}",
            hint=f"Try by hand: {' '.join(command[:4])} ...",
        )
