"""The particle: atoms from a file or a built-in cage, and how they and the water scatter.

All phases are those of a weak phase object: an atom of electron scattering factor f adds
``phi(k) = lambda gamma f(k)`` (rad A^2), with gamma the electron's relativistic mass ratio.
Scattering factors are the sums of Gaussians of the International Tables C, 4.3.2.2, from gemmi.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from icefloe._types import FloatArray
from icefloe.errors import InputError
from icefloe.optics import wavelength
from icefloe.simulate.seeds import generator

__all__ = [
    "Particle",
    "euler_matrices",
    "load_particle",
    "phase_of_debris",
    "phase_of_particle",
    "phase_of_water",
    "phase_per_factor",
    "scattering_factor",
    "water_structure",
]

# Vitreous water of 0.94 g/cm^3: molecules per A^3.
_WATER = 0.94 / 18.015 * 0.602214
# An average residue: 133 A^3, and the forward scattering of 7.45 carbons beside 7.8 hydrogens.
_RESIDUE_VOLUME, _RESIDUE_CARBONS, _RESIDUE_HYDROGENS = 133.0, 7.45, 7.8
_RESIDUE_ATOMS = 8


@dataclass(frozen=True, eq=False)
class Particle:
    """Atoms of a particle about its centre.

    Attributes
    ----------
    atoms
        (n, 3) float32, (x, y, z) in A.
    weights
        (n,) float32, scattering relative to carbon; hydrogens are implied.
    diameter
        Twice the distance from the centre within which 99 % of the atoms lie, A.
    """

    atoms: FloatArray
    weights: FloatArray
    diameter: float


def load_particle(source: str, cage_diameter: float = 120.0) -> Particle:
    """Return the built-in cage, or the atoms of a PDB or mmCIF file.

    Hydrogens and waters of a file are left out. Where a file holds nothing but C-alpha atoms,
    each becomes a residue: eight atoms within 2.9 A, so that the particle scatters to high
    resolution as a whole protein does.

    Raises
    ------
    InputError
        There is no such file, it cannot be parsed, or it holds no atoms.
    """
    if source == "cage":
        return _cage(cage_diameter)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"There is no model {path}", "'cage' or a PDB or mmCIF file")
    return _read(str(path.resolve()))


@functools.lru_cache(maxsize=4)
def _read(path: str) -> Particle:
    import gemmi

    try:
        structure: Any = gemmi.read_structure(path)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error})", "a PDB or mmCIF file") from None
    structure.remove_waters()
    structure.remove_hydrogens()
    carbon = gemmi.Element("C").c4322.calculate_sf(stol2=0.0)
    relative: dict[str, float] = {}
    places, weights, names = [], [], set()
    for site in structure[0].all() if len(structure) else []:
        element = site.atom.element
        if element.name not in relative:
            factor = element.c4322
            relative[element.name] = factor.calculate_sf(stol2=0.0) / carbon if factor else 1.0
        places.append((site.atom.pos.x, site.atom.pos.y, site.atom.pos.z))
        weights.append(relative[element.name] * site.atom.occ)
        names.add(site.atom.name)
    if not places:
        raise InputError(f"{path} holds no atoms", "a model with coordinates")
    atoms: FloatArray = np.array(places, dtype=np.float64)
    if names == {"CA"}:
        atoms, strengths = _residues(atoms)
    else:
        strengths = np.asarray(weights, dtype=np.float64)
    return _centred(atoms, strengths)


@functools.lru_cache(maxsize=4)
def _cage(diameter: float) -> Particle:
    """Return a ferritin-like shell: 24 bundles of four helices with octahedral symmetry."""
    scale = diameter / 120.0
    rng = generator("cage", 0, "residues")
    outward = np.array([1.0, 1.0, 0.0]) / math.sqrt(2)
    up, across = np.array([0.0, 0.0, 1.0]), np.array([1.0, -1.0, 0.0]) / math.sqrt(2)
    # Of the angles and offsets tried, these cover the sphere most evenly.
    along = math.cos(0.6) * up - math.sin(0.6) * across
    beside = np.cross(outward, along)
    centre = 49.0 * scale * outward + 14.0 * scale * beside
    places = []
    for depth, side in itertools.product((-5.0, 5.0), (-6.5, 6.5)):
        rise = 1.5 * (np.arange(30) - 14.5)
        turn = np.deg2rad(100.0) * np.arange(30)
        places.append(
            centre
            + rise[:, None] * along * scale
            + (depth * scale + 2.3 * np.cos(turn))[:, None] * outward
            + (side * scale + 2.3 * np.sin(turn))[:, None] * beside
        )
    loops = centre + rng.uniform(-1, 1, (50, 3)) * scale @ np.stack(
        [9.0 * outward, 13.0 * beside, 24.0 * along]
    )
    subunit = np.concatenate([*places, loops])
    everything = np.concatenate([subunit @ rotation.T for rotation in _octahedral()])
    return _centred(*_residues(everything), diameter=diameter)


def _octahedral() -> list[FloatArray]:
    """Return the 24 rotations of a cube: signed permutations with determinant +1."""
    found: list[FloatArray] = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return found


def _residues(places: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Turn each C-alpha into eight atoms at random, fixed places around it."""
    rng = generator("residues", 0, "atoms")
    direction = rng.standard_normal((len(places), _RESIDUE_ATOMS, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    radius = 2.9 * np.cbrt(rng.uniform(0.05, 1, (len(places), _RESIDUE_ATOMS, 1)))
    atoms = (places[:, None] + direction * radius).reshape(-1, 3)
    return atoms, np.full(len(atoms), _RESIDUE_CARBONS / _RESIDUE_ATOMS)


def _centred(atoms: FloatArray, weights: FloatArray, diameter: float | None = None) -> Particle:
    centred = atoms - np.average(atoms, axis=0, weights=weights)
    # Without the last percent, loose ends that nobody would measure.
    reach = 2 * float(np.percentile(np.linalg.norm(centred, axis=1), 99))
    return Particle(
        centred.astype(np.float32),
        np.asarray(weights, dtype=np.float32),
        round(reach if diameter is None else diameter, 1),
    )


def euler_matrices(angles: ArrayLike) -> FloatArray:
    """Return the rotations of RELION's ZYZ angles.

    Parameters
    ----------
    angles
        (..., 3): rot, tilt, psi in degrees.

    Returns
    -------
    ndarray
        (..., 3, 3): the point r = (x, y, z) of the particle is seen at ``(R r)[:2]``.
    """
    rot, tilt, psi = np.moveaxis(np.deg2rad(np.asarray(angles, dtype=np.float64)), -1, 0)
    ca, cb, cg = np.cos(rot), np.cos(tilt), np.cos(psi)
    sa, sb, sg = np.sin(rot), np.sin(tilt), np.sin(psi)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb],
    ]
    return np.asarray(np.stack([np.stack(row, axis=-1) for row in rows], axis=-2))


def scattering_factor(element: str, k: ArrayLike) -> FloatArray:
    """Return the electron scattering factor, A, at frequencies k, 1/A."""
    import gemmi

    factor = gemmi.Element(element).c4322
    quarter = -0.25 * np.square(np.asarray(k, dtype=np.float64))
    return np.asarray(sum(a * np.exp(b * quarter) for a, b in zip(factor.a, factor.b, strict=True)))


def phase_per_factor(voltage: float) -> float:
    """Return lambda gamma, A: the phase per scattering factor."""
    return wavelength(voltage) * (1 + voltage / 510.99895)


def phase_of_particle(k: ArrayLike, voltage: float, bfactor: float = 0.0) -> FloatArray:
    """Return the phase, rad A^2, of an atom of weight 1 in the place of water.

    The atom with its hydrogens, less the water that it displaces, a Gaussian of the atom's
    volume (Fraser, MacRae & Suzuki 1978, J. Appl. Cryst. 11, 693).
    """
    k = np.asarray(k, dtype=np.float64)
    volume = _RESIDUE_VOLUME / _RESIDUE_CARBONS
    hydrogens = _RESIDUE_HYDROGENS / _RESIDUE_CARBONS
    atom = scattering_factor("C", k) + hydrogens * scattering_factor("H", k)
    water = scattering_factor("O", 0.0) + 2 * scattering_factor("H", 0.0)
    displaced = _WATER * volume * water * np.exp(-math.pi * volume ** (2 / 3) * k * k)
    net = (atom - displaced) * np.exp(-0.25 * bfactor * k * k)
    return np.asarray(phase_per_factor(voltage) * net)


def phase_of_debris(
    k: ArrayLike, voltage: float, residues: float, bfactor: float = 0.0
) -> FloatArray:
    """Return the power spectrum of the phase, rad^2 A^2, of loose protein in the ice.

    Pieces of 50 residues with a radius of gyration of 10 A at random places.

    Parameters
    ----------
    k
        Frequencies, 1/A.
    voltage
        kV.
    residues
        Loose residues per A^2 of the specimen.
    bfactor
        As of the particles, A^2.
    """
    k = np.asarray(k, dtype=np.float64)
    residue = _RESIDUE_CARBONS * phase_of_particle(k, voltage, bfactor)
    guinier = np.exp(-((2 * math.pi * 10.0 * k) ** 2) / 3)
    return np.asarray(residues * residue**2 * (1 + 49 * guinier))


def phase_of_water(k: ArrayLike, voltage: float, thickness: float) -> FloatArray:
    """Return the power spectrum of the phase, rad^2 A^2, behind vitreous water.

    ``n t (lambda gamma f_water)^2 S(k)``: uncorrelated layers of molecules with the structure
    factor S of the glass.
    """
    molecule = scattering_factor("O", k) + 2 * scattering_factor("H", k)
    amplitude = phase_per_factor(voltage) * molecule
    return np.asarray(_WATER * thickness * amplitude**2 * water_structure(k))


def water_structure(k: ArrayLike) -> FloatArray:
    """Return the structure factor of amorphous ice, near 0.05 at low k, with broad peaks.

    A smooth stand-in for the measured curve: peaks at 3.7 A (Q = 1.7 / A) and 2.05 A.
    """
    k = np.asarray(k, dtype=np.float64)
    floor = 0.05 + 0.95 / (1 + np.exp(-(k - 0.28) / 0.035))
    first = 1.3 * np.exp(-0.5 * ((k - 0.268) / 0.032) ** 2)
    second = 0.35 * np.exp(-0.5 * ((k - 0.488) / 0.035) ** 2)
    return np.asarray(floor + first + second)
