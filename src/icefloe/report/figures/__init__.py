"""Figures of what the stages recorded, as SVG in bytes.

Each function takes the `numbers` of a sidecar (or plain values) and returns one SVG document that
stands alone in a file and can be pasted into a page. Missing and None values are left out; a
figure without anything to show says so. Every shape has a class and plain colours for a light
background; the report's CSS recolours the classes for a dark one. Same numbers, same bytes.
"""

from icefloe.report.figures.ctf_ice import ice_ring
from icefloe.report.figures.ctf_rings import ctf_rings
from icefloe.report.figures.ctf_score import defocus_score
from icefloe.report.figures.ctf_surface import defocus_surface, recorded_surface, surface_grid
from icefloe.report.figures.ctf_text import ctf_facts, with_error
from icefloe.report.figures.distribution import histogram, series
from icefloe.report.figures.images import micrograph, picture, to_webp, web_image
from icefloe.report.figures.picks import (
    score_contrast,
    score_histogram,
    size_evidence,
)
from icefloe.report.figures.rings import ring_curves, ring_text
from icefloe.report.figures.spectrum import spectrum_curves
from icefloe.report.figures.tracks import (
    frame_track,
    patch_tracks,
    tracks_on_micrograph,
    trajectories,
)

__all__ = [
    "ctf_facts",
    "ctf_rings",
    "defocus_score",
    "defocus_surface",
    "frame_track",
    "histogram",
    "ice_ring",
    "micrograph",
    "patch_tracks",
    "picture",
    "recorded_surface",
    "ring_curves",
    "ring_text",
    "score_contrast",
    "score_histogram",
    "series",
    "size_evidence",
    "spectrum_curves",
    "surface_grid",
    "to_webp",
    "tracks_on_micrograph",
    "trajectories",
    "web_image",
    "with_error",
]
