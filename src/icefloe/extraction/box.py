"""The box of a set of micrographs, and its size after binning."""

from __future__ import annotations

from icefloe.errors import MissingMetadataError, SettingsError
from icefloe.extraction.settings import ExtractSettings
from icefloe.optics import advise_box, good_size

__all__ = ["binned_box", "box_warning", "choose_box", "choose_ctf_box"]


def choose_box(
    settings: ExtractSettings,
    *,
    pixel_size: float,
    diameter: float | None = None,
    voltage: float = 300.0,
) -> int:
    """Return the box, pixels of the micrograph: the one set, or ``D + 2 lambda dF / d``.

    One box serves all micrographs of a data set, so the defocus in the formula is the largest,
    `ExtractSettings.max_defocus`, and not that of each micrograph.

    Parameters
    ----------
    settings
        `box`; for an automatic one `resolution` and `max_defocus`.
    pixel_size
        Pixel size of the micrographs, A.
    diameter
        Longest particle diameter, A.
    voltage
        Acceleration voltage, kV.

    Raises
    ------
    MissingMetadataError
        Neither box nor diameter.
    """
    if settings.box is not None:
        return settings.box
    if diameter is None:
        raise MissingMetadataError(
            "An automatic box needs the particle's diameter",
            hint="Give --diameter in A, or --box in pixels",
        )
    advice = advise_box(diameter, settings.max_defocus, settings.resolution, voltage, pixel_size)
    return max(8, good_size(advice.minimum / pixel_size))


def choose_ctf_box(settings: ExtractSettings, box: int) -> int:
    """Return the window in which the CTF is applied, pixels; the box itself if it is not.

    Raises
    ------
    SettingsError
        It is smaller than the box.
    """
    if settings.ctf == "none":
        return box
    wide = settings.ctf_box or good_size(1.5 * box)
    if wide < box:
        raise SettingsError(
            f"ctf_box is {wide} pixels and the box {box}", "at least the box, better more"
        )
    return wide


def box_warning(
    settings: ExtractSettings, *, pixel_size: float, diameter: float | None, voltage: float = 300.0
) -> str | None:
    """Return what to say of a box that loses signal, or None.

    Parameters
    ----------
    settings
        `box`, `resolution` and `max_defocus`.
    pixel_size, diameter, voltage
        As in `choose_box`; without a diameter there is nothing to compare with.
    """
    if settings.box is None or diameter is None:
        return None
    advice = advise_box(diameter, settings.max_defocus, settings.resolution, voltage, pixel_size)
    if settings.box * pixel_size >= advice.minimum - 1e-6:
        return None
    return (
        f"the box of {settings.box} pixels ({settings.box * pixel_size:.0f} A) is smaller than "
        f"D + 2 lambda dF / d = {advice.minimum:.0f} A ({advice.pixels} pixels) at a defocus of "
        f"{settings.max_defocus:.0f} A and {settings.resolution:g} A: signal is lost"
    )


def binned_box(settings: ExtractSettings, box: int, pixel_size: float) -> tuple[int, float]:
    """Return side (pixels) and pixel size (A) of the particles that a box becomes.

    Raises
    ------
    SettingsError
        The particles would get more pixels than the window has.
    """
    if settings.output_box is not None:
        size = settings.output_box
    elif settings.bin_to is not None:
        size = max(2, 2 * round(0.5 * box * pixel_size / settings.bin_to))
    else:
        size = box
    if size > box:
        raise SettingsError(
            f"Particles of {size} pixels cannot be made from windows of {box}",
            f"a pixel size of at least {pixel_size:g} A, or at most {box} pixels",
            "Leave out bin_to to keep the micrograph's pixels",
        )
    return size, pixel_size * box / size
