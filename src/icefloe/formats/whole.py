"""Is a file whole, or still on its way from the camera?"""

from __future__ import annotations

from pathlib import Path

__all__ = ["check_whole"]


def check_whole(path: str | Path) -> None:
    """Raise what is wrong with a movie or micrograph that cannot be opened or ends early.

    Only headers and directories are read, but for compressed MRC, PNG and JPEG, which can be
    checked in no other way. A TIFF or EER to which a program has still to append pages may pass:
    who waits for one must also see its size rest.

    Raises
    ------
    TruncatedFileError, EmptyMovieError, UnsupportedFormatError, InputError
    """
    from icefloe.formats.movie import file_kind, open_movie

    if file_kind(path) in ("png", "jpeg"):
        from icefloe.formats.image import read_image

        read_image(path)
        return
    with open_movie(path):
        pass
