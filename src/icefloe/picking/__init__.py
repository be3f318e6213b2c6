"""Particle picking: blobs of known size, without templates or training."""

from icefloe.picking.blob import pick_blobs
from icefloe.picking.result import Picks
from icefloe.picking.settings import BlobSettings

__all__ = ["BlobSettings", "Picks", "pick_blobs"]
