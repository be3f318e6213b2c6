"""EPU's XML files: the one of an exposure and the `_Fractions.xml` of its movie.

Both are read by the names of their elements whatever the namespace, since these changed between
versions of EPU.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from icefloe.errors import UnsupportedFormatError
from icefloe.formats.frames import open_binary

__all__ = ["EpuExposure", "read_epu"]


@dataclass(frozen=True)
class EpuExposure:
    """What EPU recorded of an exposure; None where the file does not say.

    Parameters
    ----------
    pixel_size
        A.
    voltage
        kV.
    dose
        Total, in e/A^2.
    beam_shift, image_shift
        (x, y) in EPU's own units.
    stage_position
        (x, y, z) in um.
    tilt
        Of the stage, in degrees.
    defocus
        Applied, in A, underfocus positive.
    exposure_time
        s.
    acquired
        Date and time, ISO 8601 as in the file.
    fractions, camera_frames
        Numbers of dose fractions and of camera frames in all of them.
    detector
        Its name.
    """

    pixel_size: float | None = None
    voltage: float | None = None
    dose: float | None = None
    beam_shift: tuple[float, float] | None = None
    image_shift: tuple[float, float] | None = None
    stage_position: tuple[float, float, float] | None = None
    tilt: float | None = None
    defocus: float | None = None
    exposure_time: float | None = None
    acquired: str | None = None
    fractions: int | None = None
    camera_frames: int | None = None
    detector: str | None = None


def read_epu(path: str | Path) -> EpuExposure:
    """Read an XML of EPU.

    Raises
    ------
    UnsupportedFormatError
        Not XML, or not of an exposure.
    InputError
        It cannot be read.
    """
    with open_binary(path) as handle:
        data = handle.read()
    # No document type: expanding entities would let a small file fill the memory.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise UnsupportedFormatError(f"{path} declares XML entities", "a plain XML of EPU")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise UnsupportedFormatError(f"{path} is not whole XML ({error})") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    kind = root.tag
    if kind == "MicroscopeImage":
        return _exposure(root)
    if kind in ("Acquisition", "FractionsMetadata", "Fractions"):
        return _fractions(root)
    raise UnsupportedFormatError(
        f"{path} is an XML of <{kind}>", "<MicroscopeImage> or <Acquisition> of EPU"
    )


def _exposure(root: ElementTree.Element) -> EpuExposure:
    optics = root.find(".//microscopeData/optics")
    stage = root.find(".//microscopeData/stage/Position")
    camera = root.find(".//microscopeData/acquisition/camera")
    custom = dict(_custom_data(root))
    volts = _number(root, ".//microscopeData/gun/AccelerationVoltage")
    pixel = _number(root, ".//SpatialScale/pixelSize/x/numericValue")
    defocus = _number(optics, "Defocus")
    place = [_number(stage, axis) for axis in "XYZ"]
    tilt = _number(stage, "A")
    dose = custom.get("Dose")
    # The file has m, radians and electrons per m^2.
    return EpuExposure(
        pixel_size=None if pixel is None else float(f"{1e10 * pixel:.6g}"),
        voltage=None if volts is None else volts / 1000,
        dose=None if dose is None else float(f"{1e-20 * dose:.6g}"),
        beam_shift=_pair(optics, "BeamShift"),
        image_shift=_pair(optics, "ImageShift") or _pair(optics, "BeamImageShift"),
        stage_position=_micrometres(place),
        tilt=None if tilt is None else float(f"{tilt * 57.29577951308232:.6g}"),
        defocus=_underfocus(custom.get("AppliedDefocus", defocus)),
        exposure_time=_number(camera, "ExposureTime"),
        acquired=_text(root, ".//microscopeData/acquisition/acquisitionDateTime"),
        fractions=_whole(custom.get("FractionationSettings.NumberOfFractions"))
        or _count(root, "NumberOffractions")
        or _count(root, "NumberOfFractions"),
        detector=_text(root, ".//microscopeData/acquisition/camera/Name"),
    )


def _fractions(root: ElementTree.Element) -> EpuExposure:
    fractions = list(root.iter("Fraction"))
    times = [_number(fraction, "ExposureTime") for fraction in fractions]
    frames = [_number(fraction, "NumberOfFrames") for fraction in fractions]
    recorded = _number(root, ".//RecordedNumberOfFractions")
    shift = _pair(root, ".//BeamShift")
    return EpuExposure(
        beam_shift=shift,
        image_shift=_pair(root, ".//ImageShift"),
        exposure_time=_sum(times),
        acquired=_text(root, ".//Info/DateTimeWithTimeZone"),
        fractions=_whole(recorded) or len(fractions) or None,
        camera_frames=_whole(_sum(frames)),
        detector=_text(root, ".//Info/Detector"),
    )


def _custom_data(root: ElementTree.Element) -> Iterator[tuple[str, float]]:
    for pair in root.iter():
        key, value = pair.find("Key"), pair.find("Value")
        if key is not None and value is not None and key.text:
            try:
                yield key.text.strip(), float((value.text or "").strip())
            except ValueError:
                continue


def _text(root: ElementTree.Element | None, path: str) -> str | None:
    found = None if root is None else root.find(path)
    text = None if found is None else (found.text or "").strip()
    return text or None


def _number(root: ElementTree.Element | None, path: str) -> float | None:
    text = _text(root, path)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _pair(root: ElementTree.Element | None, path: str) -> tuple[float, float] | None:
    element = None if root is None else root.find(path)
    values = [_first(_number(element, f"_{axis}"), _number(element, axis.upper())) for axis in "xy"]
    x, y = values
    return None if x is None or y is None else (x, y)


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _micrometres(place: list[float | None]) -> tuple[float, float, float] | None:
    x, y, z = (None if value is None else float(f"{1e6 * value:.8g}") for value in place)
    return None if x is None or y is None or z is None else (x, y, z)


def _underfocus(value: float | None) -> float | None:
    return None if value is None else float(f"{-1e10 * value:.6g}")


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(f"{sum(known):.9g}") if known and len(known) == len(values) else None


def _count(root: ElementTree.Element, name: str) -> int | None:
    return _whole(_number(root, f".//{name}"))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
