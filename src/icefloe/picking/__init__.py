"""Particle picking: blobs of known size, and templates given or found in the data."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.picking.bank import TemplateBank, template_bank
    from icefloe.picking.blob import pick_blobs
    from icefloe.picking.bootstrap import Bootstrap, bootstrap_bank
    from icefloe.picking.calibrate import Calibration, calibrate_scores
    from icefloe.picking.diameter import SizeEvidence, find_size
    from icefloe.picking.junk import whole_mask
    from icefloe.picking.match_settings import MatchSettings
    from icefloe.picking.projections import even_directions, project_atoms, project_volume
    from icefloe.picking.result import Picks
    from icefloe.picking.scored import ScoreMaps, picks_from_maps
    from icefloe.picking.settings import BlobSettings
    from icefloe.picking.template import pick_templates, score_maps
    from icefloe.picking.threshold import ScoreSplit, split_scores
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "TemplateBank": "bank",
            "even_directions": "projections",
            "project_atoms": "projections",
            "project_volume": "projections",
            "template_bank": "bank",
            "pick_blobs": "blob",
            "Bootstrap": "bootstrap",
            "Calibration": "calibrate",
            "calibrate_scores": "calibrate",
            "SizeEvidence": "diameter",
            "find_size": "diameter",
            "ScoreSplit": "threshold",
            "split_scores": "threshold",
            "bootstrap_bank": "bootstrap",
            "whole_mask": "junk",
            "MatchSettings": "match_settings",
            "Picks": "result",
            "BlobSettings": "settings",
            "pick_templates": "template",
            "ScoreMaps": "scored",
            "picks_from_maps": "scored",
            "score_maps": "template",
        },
    )

__all__ = [
    "BlobSettings",
    "Bootstrap",
    "Calibration",
    "MatchSettings",
    "Picks",
    "ScoreMaps",
    "ScoreSplit",
    "SizeEvidence",
    "TemplateBank",
    "bootstrap_bank",
    "calibrate_scores",
    "even_directions",
    "find_size",
    "pick_blobs",
    "pick_templates",
    "picks_from_maps",
    "project_atoms",
    "project_volume",
    "score_maps",
    "split_scores",
    "template_bank",
    "whole_mask",
]
