"""SerialEM's mdoc files: sections of `key = value` lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from icefloe.errors import UnsupportedFormatError
from icefloe.formats.frames import open_binary

__all__ = ["Mdoc", "MdocSection", "read_mdoc"]

_SECTION = re.compile(r"\[\s*(\w+)\s*=\s*(.*?)\s*\]$")


@dataclass
class MdocSection:
    """One section of an mdoc, such as `[FrameSet = 0]`.

    Parameters
    ----------
    kind, name
        What stands in the brackets.
    values
        The lines as text; the accessors below give them with their meaning, None if absent.
    """

    kind: str
    name: str
    values: dict[str, str] = field(default_factory=dict)

    def numbers(self, key: str) -> list[float]:
        """Return the numbers of an entry, empty without it or if it holds text."""
        try:
            return [float(word) for word in self.values.get(key, "").split()]
        except ValueError:
            return []

    def number(self, key: str) -> float | None:
        """Return the first number of an entry."""
        return next(iter(self.numbers(key)), None)

    @property
    def pixel_size(self) -> float | None:
        """Pixel size in A of the saved image."""
        return self.number("PixelSpacing")

    @property
    def dose(self) -> float | None:
        """Exposure in e/A^2."""
        return self.number("ExposureDose")

    @property
    def frame_doses(self) -> list[float]:
        """Dose of each frame in e/A^2, from pairs of a dose and a number of frames."""
        numbers = self.numbers("FrameDosesAndNumber")
        pairs = zip(numbers[::2], numbers[1::2], strict=False)
        return [dose for dose, count in pairs for _ in range(int(count))]

    @property
    def defocus(self) -> float | None:
        """Target defocus in A, underfocus positive; SerialEM writes um, negative."""
        value = self.number("TargetDefocus")
        value = self.number("Defocus") if value is None else value
        return None if value is None else -1e4 * value

    @property
    def frame_count(self) -> int | None:
        """Number of frames in the movie."""
        value = self.number("NumSubFrames")
        return None if value is None else int(value)

    @property
    def tilt(self) -> float | None:
        """Tilt of the stage in degrees."""
        return self.number("TiltAngle")

    @property
    def exposure_time(self) -> float | None:
        """Exposure in seconds."""
        return self.number("ExposureTime")

    @property
    def movie(self) -> str | None:
        """File name of the movie without its directory, which is one of the camera's computer."""
        path = self.values.get("SubFramePath")
        return PureWindowsPath(path).name if path else None

    @property
    def gain_reference(self) -> str | None:
        """File name of the gain reference."""
        return self.values.get("GainReference")

    @property
    def defect_file(self) -> str | None:
        """File name of the defect list."""
        return self.values.get("DefectFile")


@dataclass
class Mdoc:
    """A whole mdoc: global entries, titles and sections."""

    header: MdocSection
    titles: list[str]
    sections: list[MdocSection]

    @property
    def voltage(self) -> float | None:
        """Acceleration voltage in kV."""
        found = self.header.number("Voltage")
        values = [found, *(section.number("Voltage") for section in self.sections)]
        return next((value for value in values if value is not None), None)


def read_mdoc(path: str | Path) -> Mdoc:
    """Read an mdoc of an image, a tilt series or a frame set.

    Raises
    ------
    UnsupportedFormatError
        A line that is neither a section nor `key = value`.
    InputError
        It cannot be read.
    """
    with open_binary(path) as handle:
        lines = handle.read().decode("utf-8", "replace").splitlines()
    mdoc = Mdoc(MdocSection("", ""), [], [])
    current = mdoc.header
    for number, line in enumerate(lines, 1):
        text = line.strip()
        section = _SECTION.match(text)
        if not text or text.startswith("#"):
            continue
        if section is not None and section.group(1) == "T":
            mdoc.titles.append(section.group(2))
        elif section is not None:
            current = MdocSection(section.group(1), section.group(2))
            mdoc.sections.append(current)
        elif "=" in text:
            key, _, value = text.partition("=")
            if key.strip() == "T":
                mdoc.titles.append(value.strip())
            else:
                current.values[key.strip()] = value.strip()
        else:
            raise UnsupportedFormatError(
                f"Line {number} of {path} is {text[:60]!r}", "key = value or [section = name]"
            )
    return mdoc
