"""What the acquisition program wrote beside a movie: EPU's XML or SerialEM's mdoc."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icefloe.errors import UnsupportedFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icefloe.formats.mdoc import MdocSection

__all__ = ["Acquisition", "metadata_files", "read_acquisition"]

# EPU's movie is NAME_Fractions.tiff (or _EER.eer) and the XML of its exposure NAME.xml.
_EPU_MOVIE = re.compile(r"_(Fractions|EER)$", re.IGNORECASE)


@dataclass(frozen=True)
class Acquisition:
    """How a movie was recorded; None where its metadata do not say.

    Attributes
    ----------
    program
        ``EPU`` or ``SerialEM``.
    pixel_size
        A, of the image that the program saved.
    voltage
        kV.
    dose
        Total, e/A^2.
    gain, defects
        File names.
    gain_file, defects_file
        These files, absolute, if they lay beside the movie when the metadata were read.
    stage_position
        (x, y) or (x, y, z), um.
    shift
        (x, y), what tells the holes of one stage position apart: EPU's beam shift, in its own
        units, or SerialEM's image shift, um.
    tilt
        Of the stage, degrees.
    acquired
        Date and time as written.
    """

    program: str
    pixel_size: float | None = None
    voltage: float | None = None
    dose: float | None = None
    gain: str | None = None
    defects: str | None = None
    gain_file: str | None = None
    defects_file: str | None = None
    stage_position: tuple[float, ...] | None = None
    shift: tuple[float, float] | None = None
    tilt: float | None = None
    acquired: str | None = None

    def numbers(self) -> dict[str, Any]:
        """Return what is known, JSON-able."""
        return {k: v for k, v in asdict(self).items() if v is not None}

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> Acquisition:
        """Return what `numbers` made; keys of later versions are left out."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in numbers.items()
        }
        return cls(**{k: v for k, v in values.items() if k in known})


def metadata_files(movie: Path) -> list[Path]:
    """Return the places where metadata of a movie may lie, in the order in which they count.

    ``NAME_Fractions.tiff`` has EPU's ``NAME.xml`` and ``NAME_Fractions.xml``; ``NAME.tif`` has
    SerialEM's ``NAME.tif.mdoc`` or ``NAME.mdoc``.
    """
    name = movie.name
    for suffix in (".gz", ".bz2"):
        name = name.removesuffix(suffix)
    stem = Path(name).stem
    bare = _EPU_MOVIE.sub("", stem)
    candidates = [f"{bare}.xml", f"{bare}_Fractions.xml", f"{stem}.xml"]
    candidates += [f"{name}.mdoc", f"{stem}.mdoc"]
    return [movie.with_name(one) for one in dict.fromkeys(candidates)]


def read_acquisition(path: Path, movie: Path) -> Acquisition:
    """Return what a file says about a movie.

    Parameters
    ----------
    path
        EPU's XML or SerialEM's mdoc.
    movie
        The movie, since an mdoc may hold several.

    Raises
    ------
    UnsupportedFormatError
        It is no such file.
    InputError
        It cannot be read.
    """
    return _of_serialem(path, movie) if path.suffix.lower() == ".mdoc" else _of_epu(path)


def _of_epu(path: Path) -> Acquisition:
    from icefloe.formats.epu import read_epu

    epu = read_epu(path)
    return Acquisition(
        program="EPU",
        pixel_size=_positive(epu.pixel_size),
        voltage=_positive(epu.voltage),
        dose=_positive(epu.dose),
        stage_position=epu.stage_position,
        shift=epu.beam_shift if epu.beam_shift is not None else epu.image_shift,
        tilt=epu.tilt,
        acquired=epu.acquired,
    )


def _of_serialem(path: Path, movie: Path) -> Acquisition:
    from icefloe.formats.mdoc import read_mdoc

    mdoc = read_mdoc(path)
    named = [s for s in mdoc.sections if s.movie is not None]
    ours = [s for s in named if s.movie == movie.name]
    # A movie that was renamed or converted: then the only one there is.
    found = ours or (named if len(named) == 1 else mdoc.sections if len(mdoc.sections) == 1 else [])
    if not found:
        raise UnsupportedFormatError(
            f"{path} has {len(mdoc.sections)} sections, none of them about {movie.name}",
            "one whose SubFramePath ends in the movie's name",
        )
    section = found[-1]
    gain, defects = _file_name(section.gain_reference), _file_name(section.defect_file)
    doses = section.frame_doses
    place = [*section.numbers("StagePosition")[:2], *section.numbers("StageZ")[:1]]
    return Acquisition(
        program="SerialEM",
        pixel_size=_positive(section.pixel_size),
        voltage=_positive(mdoc.voltage),
        dose=_positive(float(f"{sum(doses):.8g}") if doses else section.dose),
        gain=gain,
        defects=defects,
        gain_file=_beside(movie, gain),
        defects_file=_beside(movie, defects),
        stage_position=tuple(place) or None,
        shift=_shift(section),
        tilt=section.tilt,
        acquired=section.values.get("DateTime"),
    )


def _shift(section: MdocSection) -> tuple[float, float] | None:
    numbers = section.numbers("ImageShift")
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def _beside(movie: Path, name: str | None) -> str | None:
    path = None if name is None else movie.absolute().with_name(name)
    return str(path) if path is not None and path.is_file() else None


def _positive(value: float | None) -> float | None:
    # Programs that were not calibrated write 0.
    return value if value is not None and value > 0 else None


def _file_name(text: str | None) -> str | None:
    # Written on Windows, with or without a directory; never one that leads elsewhere.
    name = re.split(r"[\\/]", text)[-1] if text else ""
    return name if name not in ("", ".", "..") else None
