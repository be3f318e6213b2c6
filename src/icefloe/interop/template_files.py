"""Templates from files of this and other programs.

| file | what is taken |
|---|---|
| stack of images (`.mrcs`, `.mrc`) | its images; a `_model.star` beside `_classes.mrcs` counts |
| RELION's `_model.star` | the class averages it names, by their share of the particles |
| STAR with `rlnReferenceImage` | the images it names, such as class averages that were selected |
| cryoSPARC's `.cs` | the images of `blob/path` and `blob/idx` |
| map (`.mrc`, `.map`; a cube) | projections |
| atomic model (PDB, mmCIF, also `.gz`) | projections |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icefloe._types import FloatArray
from icefloe.errors import InputError, MissingMetadataError, StarColumnError

if TYPE_CHECKING:
    from icefloe.formats.star import StarTable

__all__ = ["TemplateImages", "read_templates"]

_MODELS = (".pdb", ".ent", ".cif", ".mmcif")
# Share of the particles below which a class is empty.
_NONE = 1e-6
# Pixels a diameter, and boxes in diameters, of the projections of a model.
_SAMPLES, _BOX = 48, 1.6


@dataclass(frozen=True)
class TemplateImages:
    """Images read from a file.

    Attributes
    ----------
    images
        (k, n, n) float32.
    pixel_size
        A.
    numbers
        Of the images in the file, from 1.
    diameter
        Of the particle, A, where the file tells: an atomic model does.
    """

    images: FloatArray
    pixel_size: float
    numbers: tuple[int, ...]
    diameter: float | None = None


def read_templates(
    path: str | Path,
    *,
    pixel_size: float | None = None,
    classes: Sequence[int] = (),
    min_share: float = 0.0,
    directions: int = 12,
) -> TemplateImages:
    """Read templates from a file of any of the kinds above.

    Parameters
    ----------
    path
        The file.
    pixel_size
        A; in place of what the file tells.
    classes
        Numbers, from 1, of the images to take; all by default.
    min_share
        Least part of the particles that a class must hold, where the file tells; classes without
        particles are left out.
    directions
        In which a map or a model is projected.

    Raises
    ------
    InputError
        No such file, nothing in it to take, or numbers that it does not have.
    StarColumnError
        A STAR that names no images.
    MissingMetadataError
        The pixel size is not known.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}", hint="Check the path")
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in _MODELS:
        return _from_model(path, directions)
    if suffix == ".star":
        listed, shares, size = _from_star(path)
    elif suffix == ".cs":
        listed, shares, size = _from_cs(path)
    else:
        return _from_images(path, pixel_size, classes, min_share, directions)
    numbers = _chosen(path, len(listed), shares, classes, min_share)
    images, header = _read_listed([listed[i - 1] for i in numbers], path)
    return TemplateImages(images, _known(pixel_size or size or header, path), numbers)


def _known(pixel_size: float | None, path: Path) -> float:
    if not pixel_size or not pixel_size > 0:
        raise MissingMetadataError(
            f"The pixel size of {path} is not known", hint="Give --template-pixel-size"
        )
    return float(pixel_size)


def _from_model(path: Path, directions: int) -> TemplateImages:
    from icefloe.picking.projections import even_directions, project_atoms
    from icefloe.simulate.specimen import load_particle

    particle = load_particle(str(path))
    size = particle.diameter / _SAMPLES
    images = project_atoms(
        particle.atoms,
        particle.weights,
        even_directions(directions),
        pixel_size=size,
        box=round(_BOX * _SAMPLES),
        resolution=max(15.0, 2 * size),
    )
    return TemplateImages(images, size, tuple(range(1, len(images) + 1)), particle.diameter)


def _from_images(
    path: Path,
    pixel_size: float | None,
    classes: Sequence[int],
    min_share: float,
    directions: int,
) -> TemplateImages:
    from icefloe.formats.mrc import read_mrc
    from icefloe.picking.projections import even_directions, project_volume

    data, header = read_mrc(path)
    size: float | None = header
    data = np.asarray(data, dtype=np.float32)
    if data.ndim == 3 and path.suffix.lower() != ".mrcs" and len(set(data.shape)) == 1:
        if not np.isfinite(data).all():
            raise InputError(f"{path} holds NaN or infinite values", "a map with numbers")
        data = project_volume(data, even_directions(directions))
        return TemplateImages(
            data, _known(pixel_size or size, path), tuple(range(1, len(data) + 1))
        )
    data = data[None] if data.ndim == 2 else data
    shares = None
    model = path.with_name(path.name.replace("_classes.mrcs", "_model.star"))
    if path.name.endswith("_classes.mrcs") and model.is_file():
        _, shares, told = _from_star(model)
        # RELION's classes are of the size that the model tells, whatever the header.
        size = told or header
        if shares is not None and len(shares) != len(data):
            raise InputError(
                f"{path} has {len(data)} images, and {model.name} beside it {len(shares)} classes",
                "files of one run",
            )
    numbers = _chosen(path, len(data), shares, classes, min_share)
    chosen = data[np.asarray(numbers) - 1]
    return TemplateImages(chosen, _known(pixel_size or size, path), numbers)


def _from_star(path: Path) -> tuple[list[tuple[int, str]], FloatArray | None, float | None]:
    """Return (number, file) of each image, the classes' shares, and the pixel size."""
    from icefloe.formats.star import read_star

    blocks = read_star(path)
    table = next((t for t in blocks.values() if "rlnReferenceImage" in t), None)
    if table is None:
        raise StarColumnError(
            f"{path} names no images (its blocks are {', '.join(map(repr, blocks))})",
            "a table with rlnReferenceImage",
            "Give a _model.star, or the class averages that were selected",
        )
    listed = [_numbered(str(name)) for name in table["rlnReferenceImage"]]
    shares = None
    if "rlnClassDistribution" in table:
        shares = np.asarray(table["rlnClassDistribution"], dtype=np.float64)
    return listed, shares, _pixel_size(blocks)


def _pixel_size(blocks: dict[str, StarTable]) -> float | None:
    for name in ("model_general", "optics"):
        for column in ("rlnPixelSize", "rlnImagePixelSize"):
            if name in blocks and column in blocks[name] and len(blocks[name]):
                return float(blocks[name][column][0])
    return None


def _numbered(name: str) -> tuple[int, str]:
    number, at, file = name.partition("@")
    if not at:
        return 1, name
    if not number.isdigit():
        raise InputError(f"'{name}' is not the name of an image", "NUMBER@STACK")
    return int(number), file


def _from_cs(path: Path) -> tuple[list[tuple[int, str]], FloatArray | None, float | None]:
    from icefloe.formats.cryosparc import read_cs

    table = read_cs(path)
    missing = [c for c in ("blob/path", "blob/idx") if c not in table]
    if missing:
        raise InputError(
            f"{path} has no {' and no '.join(missing)}",
            "the templates or class averages of a cryoSPARC job (..._class_averages.cs)",
        )
    pairs = zip(table["blob/idx"], table["blob/path"], strict=True)
    listed = [(int(i) + 1, str(file).lstrip(">")) for i, file in pairs]
    size = float(table["blob/psize_A"][0]) if "blob/psize_A" in table else None
    return listed, None, size


def _chosen(
    path: Path, n: int, shares: FloatArray | None, classes: Sequence[int], min_share: float
) -> tuple[int, ...]:
    wrong = [c for c in classes if not 1 <= c <= n]
    if wrong:
        raise InputError(f"{path} has no image {wrong[0]}", f"numbers from 1 to {n}")
    if shares is None and min_share > 0:
        raise InputError(
            f"{path} does not tell how many particles a class holds",
            "a _model.star, or a _classes.mrcs beside one",
            "Leave out --min-share, or choose with --classes",
        )
    numbers = [int(c) for c in classes] or list(range(1, n + 1))
    if shares is not None and not classes:
        numbers = [c for c in numbers if shares[c - 1] > _NONE and shares[c - 1] >= min_share]
    if not numbers:
        most = 0.0 if shares is None or not len(shares) else float(np.max(shares))
        raise InputError(
            f"{path} has no images to take" if not n else f"No class of {path} is large enough",
            f"a class with {min_share:g} of the particles; the largest has {most:g}" if n else "",
        )
    return tuple(numbers)


def _read_listed(listed: Sequence[tuple[int, str]], source: Path) -> tuple[FloatArray, float]:
    from icefloe.formats.mrc import read_mrc

    stacks: dict[str, tuple[FloatArray, float]] = {}
    images = []
    for number, name in listed:
        if name not in stacks:
            data, size = read_mrc(_located(name, source))
            stacks[name] = (data[None] if data.ndim == 2 else data), size or 0.0
        data, _ = stacks[name]
        if not 1 <= number <= len(data):
            raise InputError(
                f"{source} names image {number} of {name}", f"a number from 1 to {len(data)}"
            )
        images.append(np.asarray(data[number - 1], dtype=np.float32))
    if len({image.shape for image in images}) > 1:
        raise InputError(
            f"The images that {source} names differ in size", "images of one size and pixel size"
        )
    return np.stack(images), next(iter(stacks.values()))[1]


def _located(name: str, source: Path) -> Path:
    """Return a listed file: as named, beside the file that names it, or below a parent of that."""
    path = Path(name)
    if path.is_absolute() or path.exists():
        return path
    for directory in source.resolve().parents:
        if (directory / path).exists():
            return directory / path
    beside = source.with_name(path.name)
    if beside.exists():
        return beside
    raise InputError(
        f"{source} names {name}, which is not there",
        hint="Run from the project's directory, or put it beside the file that names it",
    )
