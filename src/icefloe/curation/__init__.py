"""Which exposures are worth keeping: rules on what was recorded, and what a person decided."""

from icefloe.curation.evaluate import Curation, RuleCount, Verdict, evaluate
from icefloe.curation.image_numbers import ImageNumbers, image_numbers
from icefloe.curation.journal import Decision, add_decisions, read_journal, standing_decisions
from icefloe.curation.rules import DEFAULT_RULES, Rule, parse_rule
from icefloe.curation.store import curate, load_curation, read_rules, write_lists, write_rules

__all__ = [
    "DEFAULT_RULES",
    "Curation",
    "Decision",
    "ImageNumbers",
    "Rule",
    "RuleCount",
    "Verdict",
    "add_decisions",
    "curate",
    "evaluate",
    "image_numbers",
    "load_curation",
    "parse_rule",
    "read_journal",
    "read_rules",
    "standing_decisions",
    "write_lists",
    "write_rules",
]
