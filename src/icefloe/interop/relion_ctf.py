"""CTF results as RELION's and CTFFIND's files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icefloe import __version__
from icefloe.errors import InputError
from icefloe.formats.star import StarTable
from icefloe.interop.optics import OpticsGroup, optics_table

if TYPE_CHECKING:
    from icefloe.ctf import CtfSettings

__all__ = ["ctffind_avrot_text", "ctffind_text", "micrographs_ctf"]

# RELION's own limit of rlnCtfMaxResolution, A.
_COARSEST = 25.0
# Other keys of a row that become columns, behind those that RELION writes itself.
_FURTHER = {
    "power_spectrum": "rlnCtfPowerSpectrum",
    "even": "rlnMicrographNameEven",
    "odd": "rlnMicrographNameOdd",
    "metadata": "rlnMicrographMetadata",
}
_MOTION = {
    "motion_total": "rlnAccumMotionTotal",
    "motion_early": "rlnAccumMotionEarly",
    "motion_late": "rlnAccumMotionLate",
}


def micrographs_ctf(
    rows: Sequence[Mapping[str, Any]], optics: Sequence[OpticsGroup]
) -> dict[str, StarTable]:
    """Return the blocks of micrographs_ctf.star, RELION's columns first and in its order.

    Parameters
    ----------
    rows
        One a micrograph with a usable CTF: ``micrograph`` (file name), ``ctf`` (from
        `CtfResult.numbers`), ``ctf_image`` (file name with ``:mrc``); where there are such
        ``no_dw``, ``power_spectrum``, ``even``, ``odd``, ``metadata`` (file names), ``numbers``
        (from `MotionResult.numbers`), ``row`` (columns of the STAR it came from, all carried
        along), and ``optics_group`` unless it is 1. A column is written when every row has it.
    optics
        The optics groups.

    Raises
    ------
    InputError
        A row's fit failed; it has no defocus to write.
    """
    table = [_columns(row) for row in rows]
    shared = [c for c in (table[0] if table else {}) if all(c in t for t in table)]
    if not any(t.get("rlnPhaseShift") for t in table):
        shared = [c for c in shared if c != "rlnPhaseShift"]
    return {"optics": optics_table(optics), "micrographs": StarTable.from_rows(table, shared)}


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    ctf = row["ctf"]
    if ctf.get("defocus_u") is None or ctf.get("defocus_v") is None:
        raise InputError(
            f"The CTF fit of {row['micrograph']} failed", hint="Leave this micrograph out"
        )
    u, v = float(ctf["defocus_u"]), float(ctf["defocus_v"])
    resolution = ctf.get("fit_resolution")
    out: dict[str, Any] = {}
    if row.get("no_dw") is not None:
        out["rlnMicrographNameNoDW"] = str(row["no_dw"])
    out |= {
        "rlnMicrographName": str(row["micrograph"]),
        "rlnOpticsGroup": int(row.get("optics_group", 1)),
        "rlnCtfImage": str(row["ctf_image"]),
        "rlnDefocusU": u,
        "rlnDefocusV": v,
        "rlnCtfAstigmatism": abs(u - v),
        "rlnDefocusAngle": float(ctf["defocus_angle"]),
        "rlnCtfFigureOfMerit": float(ctf["figure_of_merit"]),
        "rlnCtfMaxResolution": _COARSEST if resolution is None else min(resolution, _COARSEST),
        "rlnPhaseShift": float(ctf.get("phase_shift") or 0.0),
    }
    if ctf.get("ice_ring") is not None:
        out["rlnCtfIceRingDensity"] = float(ctf["ice_ring"])
    for key, label in _FURTHER.items():
        if row.get(key) is not None:
            out[label] = str(row[key])
    motion = row.get("numbers")
    if motion is not None:
        # Movie pixels, as RELION writes them.
        pixel = float(motion["movie_pixel_size"])
        out |= {label: float(motion[key]) / pixel for key, label in _MOTION.items()}
    for label, value in row.get("row", {}).items():
        out.setdefault(label, value)
    return out


def ctffind_text(
    numbers: Mapping[str, Any], name: str, settings: CtfSettings | None = None, number: int = 1
) -> str:
    """Return one micrograph's result in CTFFIND 4's text form: 5 comments, 7 columns.

    The comments have CTFFIND's words, which programs parse, its "um" for the limits of the search
    (which are A) among them. There is no date: the same result makes the same bytes.

    Parameters
    ----------
    numbers
        From `CtfResult.numbers`. A value that is None is written as nan, an unknown resolution
        as inf, as CTFFIND does.
    name
        The micrograph's file.
    settings
        What the fit was asked for, to be stated in a comment.
    number
        The micrograph's number.
    """
    resolution = numbers["fit_resolution"]
    values = [
        float(number),
        _number(numbers["defocus_u"]),
        _number(numbers["defocus_v"]),
        _number(numbers["defocus_angle"]),
        math.radians(_number(numbers["phase_shift"])),
        _number(numbers["figure_of_merit"]),
        math.inf if resolution is None else float(resolution),
    ]
    columns = (
        "# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; "
        "#4 - azimuth of astigmatism; #5 - additional phase shift [radians]; "
        "#6 - cross correlation; "
        "#7 - spacing (in Angstroms) up to which CTF rings were fit successfully"
    )
    row = " ".join(f"{v:.6f}" for v in values)
    return "\n".join([*_comments(numbers, name, settings), columns, row]) + "\n"


def ctffind_avrot_text(
    numbers: Mapping[str, Any], name: str, settings: CtfSettings | None = None
) -> str:
    """Return the curves in the form of CTFFIND 4's ``_avrot.txt``: 5 comments, 6 lines.

    The lines are frequency (1/A, to Nyquist), rotational average, average along lines of equal
    phase, fit, local correlation, and its two-sigma noise. The fit is CTF^2, where CTFFIND has
    the modulus of the CTF: the zeros are the same.
    """
    curves = numbers["curves"]
    order = ("frequency", "experimental", "equiphase", "model", "correlation", "noise")
    comments = _comments(numbers, name, settings)
    if settings is not None:
        comments[-1] += "; num. frames averaged: 1"
    columns = (
        "# 6 lines per micrograph: #1 - spatial frequency (1/Angstroms); #2 - 1D rotational "
        "average of spectrum (assuming no astigmatism); #3 - 1D rotational average of spectrum; "
        "#4 - CTF fit; #5 - cross-correlation between spectrum and CTF fit; "
        "#6 - 2sigma of expected cross correlation of noise"
    )
    lines = [" ".join(f"{_number(v):.6f}" for v in curves[key]) for key in order]
    return "\n".join([*comments, columns, *lines]) + "\n"


def _comments(numbers: Mapping[str, Any], name: str, settings: CtfSettings | None) -> list[str]:
    box = 2 * (len(numbers["curves"]["frequency"]) - 1)
    search = f"# Box size: {box} pixels"
    if settings is not None:
        search += (
            f" ; min. res.: {settings.low_resolution:.1f} Angstroms"
            f" ; max. res.: {settings.high_resolution:.1f} Angstroms"
            f" ; min. def.: {settings.defocus_min:.1f} um"
            f"; max. def. {settings.defocus_max:.1f} um"
        )
    return [
        f"# Output from Icefloe version {__version__}, in the form of CTFFind version 4.1",
        f"# Input file: {name} ; Number of micrographs: 1",
        f"# Pixel size: {numbers['pixel_size']:.3f} Angstroms"
        f" ; acceleration voltage: {numbers['voltage']:.1f} keV"
        f" ; spherical aberration: {numbers['cs']:.2f} mm"
        f" ; amplitude contrast: {numbers['amplitude_contrast']:.2f}",
        search,
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
