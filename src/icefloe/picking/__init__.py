"""Particle picking: blobs of known size, without templates or training."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.picking.blob import pick_blobs
    from icefloe.picking.result import Picks
    from icefloe.picking.settings import BlobSettings
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "pick_blobs": "blob",
            "Picks": "result",
            "BlobSettings": "settings",
        },
    )

__all__ = ["BlobSettings", "Picks", "pick_blobs"]
