"""One module a file format; what others use is named here.

Reading is lazy and permissive where real files are sloppy, but never silent about missing data;
writing is atomic and the same input gives the same bytes. Conventions: `docs/design.md`.
"""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.formats.atomic import atomic_path, output_directory, write_bytes, write_text
    from icefloe.formats.coordinates import Coordinates, read_coordinates, write_coordinates
    from icefloe.formats.cryosparc import read_cs, write_cs
    from icefloe.formats.defects import read_defects
    from icefloe.formats.epu import EpuExposure, read_epu
    from icefloe.formats.frame_doses import read_frame_doses
    from icefloe.formats.gain import fit_gain, orient_gain, read_gain
    from icefloe.formats.image import Image, read_image
    from icefloe.formats.mdoc import Mdoc, MdocSection, read_mdoc
    from icefloe.formats.movie import Movie, file_kind, open_movie
    from icefloe.formats.mrc import MrcStackWriter, read_mrc, write_mrc
    from icefloe.formats.star import StarTable, read_star, require_block, write_star
    from icefloe.formats.tiff import read_tiff, write_tiff_movie
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "atomic_path": "atomic",
            "output_directory": "atomic",
            "write_bytes": "atomic",
            "write_text": "atomic",
            "Coordinates": "coordinates",
            "read_coordinates": "coordinates",
            "write_coordinates": "coordinates",
            "read_cs": "cryosparc",
            "write_cs": "cryosparc",
            "read_defects": "defects",
            "EpuExposure": "epu",
            "read_epu": "epu",
            "read_frame_doses": "frame_doses",
            "fit_gain": "gain",
            "orient_gain": "gain",
            "read_gain": "gain",
            "Image": "image",
            "read_image": "image",
            "Mdoc": "mdoc",
            "MdocSection": "mdoc",
            "read_mdoc": "mdoc",
            "Movie": "movie",
            "file_kind": "movie",
            "open_movie": "movie",
            "MrcStackWriter": "mrc",
            "read_mrc": "mrc",
            "write_mrc": "mrc",
            "StarTable": "star",
            "read_star": "star",
            "require_block": "star",
            "write_star": "star",
            "read_tiff": "tiff",
            "write_tiff_movie": "tiff",
        },
    )

__all__ = [
    "Coordinates",
    "EpuExposure",
    "Image",
    "Mdoc",
    "MdocSection",
    "Movie",
    "MrcStackWriter",
    "StarTable",
    "atomic_path",
    "file_kind",
    "fit_gain",
    "open_movie",
    "orient_gain",
    "output_directory",
    "read_coordinates",
    "read_cs",
    "read_defects",
    "read_epu",
    "read_frame_doses",
    "read_gain",
    "read_image",
    "read_mdoc",
    "read_mrc",
    "read_star",
    "read_tiff",
    "require_block",
    "write_bytes",
    "write_coordinates",
    "write_cs",
    "write_mrc",
    "write_star",
    "write_text",
    "write_tiff_movie",
]
