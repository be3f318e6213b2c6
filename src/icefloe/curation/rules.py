"""Rules: what an exposure must fulfil to be kept.

A rule is text such as ``ctf.fit_resolution <= 6``. The grammar, with blanks wherever one likes::

    rule      = condition ("or" condition)*
    condition = measure OP number | number OP measure OP number | "no" "flag" TEXT
    measure   = NAME | "z(" NAME ["," WINDOW] ")" | "ratio(" NAME ["," WINDOW] ")"
    OP        = "<=" | "<" | ">=" | ">"

NAME is a recorded number, ``stage.key``. ``z`` is its distance from the median over the session in
robust standard deviations (1.4826 times the median absolute deviation), ``ratio`` its quotient by
that median; with a WINDOW both are taken over so many exposures nearest in order.
"""

from __future__ import annotations

import operator
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from icefloe.errors import SettingsError

__all__ = ["DEFAULT_RULES", "Condition", "FlagCondition", "NumberCondition", "Rule", "parse_rule"]

Operator = Literal["<=", "<", ">=", ">"]
Measure = Literal["value", "z", "ratio"]

_COMPARE = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
_TURNED: dict[str, Operator] = {"<=": ">=", "<": ">", ">=": "<=", ">": "<"}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_MEASURE = (
    r"(?:(?P<function>[a-z]+)\s*\(\s*(?P<inner>[\w.]+)\s*(?:,\s*(?P<window>\d+)\s*)?\)"
    r"|(?P<name>[A-Za-z_][\w.]*))"
)
_CONDITION = re.compile(
    rf"(?:(?P<low>{_NUMBER})\s*(?P<low_op><=?|>=?)\s*)?{_MEASURE}"
    rf"(?:\s*(?P<op><=?|>=?)\s*(?P<limit>{_NUMBER}))?"
)
_FLAG = re.compile(r"no\s+flag\s+(?P<quote>['\"]?)(?P<text>.+?)(?P=quote)", re.IGNORECASE)
_EXAMPLES = "such as 'ctf.fit_resolution <= 6', 'z(motion.motion_total) < 5' or \"no flag 'TEXT'\""
_MIN_WINDOW = 8


class NumberCondition(BaseModel):
    """A limit of one recorded number.

    `holds` says whether a measured value fulfils it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^\w+(\.\w+)+$", description="Stage and key of the number.")
    measure: Measure = Field(default="value", description="The number, its z-score or its ratio.")
    window: int | None = Field(
        default=None, ge=_MIN_WINDOW, description="Exposures over which the median is taken."
    )
    operator: Operator = Field(description="How it compares with the limit.")
    limit: float = Field(allow_inf_nan=False, description="The limit.")

    def holds(self, value: float) -> bool:
        """Return whether a value is within the limit."""
        return bool(_COMPARE[self.operator](value, self.limit))

    @property
    def subject(self) -> str:
        """What is compared, as it stands in a rule."""
        if self.measure == "value":
            return self.name
        window = "" if self.window is None else f", {self.window}"
        return f"{self.measure}({self.name}{window})"

    def __str__(self) -> str:
        return f"{self.subject} {self.operator} {self.limit:g}"


class FlagCondition(BaseModel):
    """That no remark of a stage contains a text, in upper or lower case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1, description="Part of the remark.")

    def holds(self, flags: tuple[str, ...]) -> bool:
        """Return whether none of the remarks contains the text."""
        return not any(self.text.lower() in flag.lower() for flag in flags)

    def __str__(self) -> str:
        quote = '"' if "'" in self.text else "'"
        return f"no flag {quote}{self.text}{quote}"


Condition = NumberCondition | FlagCondition


class Rule(BaseModel):
    """An exposure is kept if one of the alternatives holds; each is a list of conditions.

    A condition on a number that was not measured neither holds nor fails: the rule then says
    nothing about the exposure unless another alternative holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alternatives: tuple[tuple[Condition, ...], ...] = Field(min_length=1)
    reason: str = Field(default="", description="Why what it takes is bad; stands in the lists.")

    def __str__(self) -> str:
        return " or ".join(_condition_text(conditions) for conditions in self.alternatives)

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers that it reads."""
        found = [
            c.name for part in self.alternatives for c in part if isinstance(c, NumberCondition)
        ]
        return tuple(dict.fromkeys(found))


def _condition_text(conditions: tuple[Condition, ...]) -> str:
    if len(conditions) == 1:
        return str(conditions[0])
    low, high = conditions  # a range: the parser makes no other pair
    assert isinstance(low, NumberCondition)
    assert isinstance(high, NumberCondition)
    return f"{low.limit:g} {_TURNED[low.operator]} {high}"


def parse_rule(text: str, reason: str = "") -> Rule:
    """Return the rule that a text means.

    Raises
    ------
    SettingsError
        It cannot be read; the message shows the part and examples.
    """
    parts = [part.strip() for part in re.split(r"\bor\b(?=(?:[^'\"]|['\"][^'\"]*['\"])*$)", text)]
    return Rule(alternatives=tuple(_parse_condition(p, text) for p in parts), reason=reason)


def _parse_condition(text: str, whole: str) -> tuple[Condition, ...]:
    flag = _FLAG.fullmatch(text)
    if flag is not None:
        return (FlagCondition(text=flag["text"]),)
    found = _CONDITION.fullmatch(text)
    if found is None or (found["op"] is None and found["low"] is None):
        where = f" (in '{whole}')" if whole != text else ""
        raise SettingsError(f"The rule '{text}'{where} cannot be read", f"a condition {_EXAMPLES}")
    measure = found["function"] or "value"
    if measure not in ("value", "z", "ratio") or (found["function"] == "value"):
        raise SettingsError(f"The rule '{text}' has '{found['function']}('", "z( or ratio(")
    name, window = found["name"] or found["inner"], found["window"]
    if "." not in name.strip("."):
        raise SettingsError(
            f"The rule '{text}' is about '{name}'",
            "a recorded number as stage.key, such as ctf.fit_resolution",
            "'icefloe curate --numbers' lists them",
        )
    if window is not None and int(window) < _MIN_WINDOW:
        raise SettingsError(f"The rule '{text}' has a window of {window}", f"{_MIN_WINDOW} or more")
    limits: list[tuple[str, str]] = []
    if found["low"] is not None:
        limits.append((_TURNED[found["low_op"]], found["low"]))
    if found["op"] is not None:
        limits.append((found["op"], found["limit"]))
    if len(limits) == 2 and limits[0][0][0] == limits[1][0][0]:
        raise SettingsError(f"The rule '{text}' has both limits on one side", "LOW <= NAME <= HIGH")
    return tuple(
        NumberCondition.model_validate(
            {
                "name": name,
                "measure": measure,
                "window": None if window is None else int(window),
                "operator": sign,
                "limit": float(limit),
            }
        )
        for sign, limit in limits
    )


# Each with its reason; docs/curation.md tells where the numbers come from. A z-score alone would
# take the tail of a session in which all is well, so it stands beside a value that is never bad.
DEFAULT_RULES: tuple[Rule, ...] = tuple(
    parse_rule(text, reason)
    for text, reason in (
        ("no flag 'no Thon rings'", "no CTF was found"),
        ("no flag 'crystalline ice'", "spots of crystalline ice"),
        ("no flag 'rings in one direction only'", "drift during the exposure"),
        ("ctf.fit_resolution <= 6", "the CTF fits to a low resolution only"),
        ("2000 <= ctf.defocus <= 50000", "defocus out of the useful range"),
        (
            "ctf.astigmatism <= 1000 or z(ctf.astigmatism) < 5",
            "strong astigmatism, far from the session's",
        ),
        ("no flag 'no signal'", "the frames share no signal"),
        ("motion.motion_total <= 30 or z(motion.motion_total) < 5", "much more motion than usual"),
        (
            "ctf.iciness <= 0.4 or z(ctf.iciness) < 5 or ratio(ctf.iciness) < 1.5",
            "strong ice ring",
        ),
        ("look.lattice <= 8 or z(look.lattice) < 6", "spots of a crystal in the spectrum"),
        ("look.dark_depth <= 11 or z(look.dark_depth) < 6", "dark clumps: aggregates, dirt"),
        (
            "look.area_contrast <= 4.5 or z(look.area_contrast) < 6 or look.gradient < 0.05",
            "two areas: an edge of carbon",
        ),
        (
            "look.roughness <= 0.3 or z(look.roughness) < 6 or ratio(look.roughness) < 1.5",
            "coarse objects: ice crystals, carbon",
        ),
        ("look.texture <= 0.7 or z(look.texture) < 6", "parts of unlike texture"),
        ("ratio(pick.n_picks) >= 0.2", "nearly no particles"),
    )
)
