"""2D class averages: classification, ranking, and templates for picking."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.classes.bootstrap import TemplatesFromPicks, templates_from_picks
    from icefloe.classes.classify import classify_particles
    from icefloe.classes.ranking import ClassRank, rank_classes
    from icefloe.classes.refine import Refinement, refine_templates
    from icefloe.classes.result import Classification
    from icefloe.classes.settings import ClassifySettings
    from icefloe.classes.templates import masked_averages, select_templates, templates_of
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "TemplatesFromPicks": "bootstrap",
            "templates_from_picks": "bootstrap",
            "classify_particles": "classify",
            "ClassRank": "ranking",
            "rank_classes": "ranking",
            "Refinement": "refine",
            "refine_templates": "refine",
            "Classification": "result",
            "ClassifySettings": "settings",
            "masked_averages": "templates",
            "select_templates": "templates",
            "templates_of": "templates",
        },
    )

__all__ = [
    "ClassRank",
    "Classification",
    "ClassifySettings",
    "Refinement",
    "TemplatesFromPicks",
    "classify_particles",
    "masked_averages",
    "rank_classes",
    "refine_templates",
    "select_templates",
    "templates_from_picks",
    "templates_of",
]
