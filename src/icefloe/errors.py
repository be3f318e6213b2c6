"""Every error that Icefloe raises on purpose.

All derive from `IcefloeError`; a leaf is one cause.  Each says what was found, what was
expected, and what to do about it, so that the message alone is enough to mend the input.

    IcefloeError
      InputError            a file or array that cannot be used
        TruncatedFileError    it ends early
        EmptyMovieError       no frames, or frames without a single count
        FrameShapeError       frames of unequal size
        UnsupportedFormatError  not a format (or variant) that is read here
        GainShapeError        gain and movie differ in size
        GainValueError        NaN, infinite or all-zero gain
        DefectError           a defect list or map that does not fit the movie
        StarFormatError       text that is not STAR
        StarColumnError       a STAR without a block or column that is needed
        MissingMetadataError  a number that nobody gave: pixel size, dose, voltage
      SettingsError         a setting out of range or unknown
      DeviceError           the accelerator asked for is not there
      FitError              a fit that did not converge to anything usable
      OutputError           a place that cannot be written
        DiskFullError         no space left
      ProjectError          not a project, or one that cannot be used
        ProjectLockedError    another run holds it
"""

from __future__ import annotations

__all__ = [
    "DefectError",
    "DeviceError",
    "DiskFullError",
    "EmptyMovieError",
    "FitError",
    "FrameShapeError",
    "GainShapeError",
    "GainValueError",
    "IcefloeError",
    "InputError",
    "MissingMetadataError",
    "OutputError",
    "ProjectError",
    "ProjectLockedError",
    "SettingsError",
    "StarColumnError",
    "StarFormatError",
    "TruncatedFileError",
    "UnsupportedFormatError",
]


class IcefloeError(Exception):
    """Base of all errors.

    Parameters
    ----------
    found
        What is wrong, with the file and the value.
    expected
        What would have been right; left out where `found` says it.
    hint
        What to do now.
    """

    def __init__(self, found: str, expected: str = "", hint: str = "") -> None:
        self.found, self.expected, self.hint = found, expected, hint
        parts = [found.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected {expected.rstrip('.')}.")
        if hint:
            parts.append(hint if hint.endswith("?") else hint.rstrip(".") + ".")
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple[type[IcefloeError], tuple[str, str, str]]:
        return type(self), (self.found, self.expected, self.hint)


class InputError(IcefloeError):
    """A file or array that cannot be used."""


class TruncatedFileError(InputError):
    """A file that ends before the data its header promises."""


class EmptyMovieError(InputError):
    """A movie without frames, or without a single count."""


class FrameShapeError(InputError):
    """Frames of one movie that differ in size."""


class UnsupportedFormatError(InputError):
    """A format, or a variant of one, that is not read."""


class GainShapeError(InputError):
    """A gain reference that does not fit the movie."""


class GainValueError(InputError):
    """A gain reference with NaN, infinite or only zero values."""


class DefectError(InputError):
    """A defect list or map that does not fit the movie."""


class StarFormatError(InputError):
    """Text that cannot be parsed as STAR."""


class StarColumnError(InputError):
    """A STAR file without a block or column that is needed."""


class MissingMetadataError(InputError):
    """A physical number that nobody gave."""


class SettingsError(IcefloeError):
    """A setting that is unknown or out of range."""


class DeviceError(IcefloeError):
    """The computing device asked for is not available."""


class FitError(IcefloeError):
    """A fit that gave nothing usable."""


class OutputError(IcefloeError):
    """A place that cannot be written."""


class DiskFullError(OutputError):
    """No space left where a file was being written."""


class ProjectError(IcefloeError):
    """A directory that is not a project, or not a usable one."""


class ProjectLockedError(ProjectError):
    """A project that another run is working on."""
