"""From numbers, rules and decisions to a verdict on every exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from icefloe._types import AnyArray, FloatArray
from icefloe.curation.journal import Decision
from icefloe.curation.measures import measured, values_of
from icefloe.curation.rules import Condition, FlagCondition, NumberCondition, Rule
from icefloe.project import ExposureRecord

__all__ = ["Curation", "RuleCount", "State", "Verdict", "evaluate"]

# "pending": a stage is still to be done and no rule takes it yet.
State = Literal["accepted", "rejected", "pending"]


@dataclass(frozen=True)
class Verdict:
    """What becomes of one exposure.

    Attributes
    ----------
    name
        The exposure.
    state
        ``accepted``, ``rejected`` or ``pending``.
    by
        ``rules``, ``person``, or ``failure``: a stage that failed.
    reasons
        Why; for rules each that takes it, with the value.
    rules
        Indices of the rules that take it, whoever decides.
    """

    name: str
    state: State
    by: Literal["rules", "person", "failure"]
    reasons: tuple[str, ...] = ()
    rules: tuple[int, ...] = ()


@dataclass(frozen=True)
class RuleCount:
    """What one rule does.

    Attributes
    ----------
    rule
        The rule.
    taken
        Exposures that it rejects, in order.
    only
        Those of them that no other rule rejects.
    unknown
        Number of exposures of which it can say nothing.
    """

    rule: Rule
    taken: tuple[str, ...]
    only: tuple[str, ...]
    unknown: int


@dataclass(frozen=True)
class Curation:
    """The verdicts on a session, and what each rule does to it."""

    verdicts: Mapping[str, Verdict]
    counts: tuple[RuleCount, ...]

    def names(self, state: State) -> list[str]:
        """Return the exposures in a state, in order."""
        return [name for name, verdict in self.verdicts.items() if verdict.state == state]

    def by_reason(self) -> list[tuple[str, list[str]]]:
        """Return each cause of rejection with the rejected exposures, the commonest first.

        A cause is a rule, a decision's reason or a failed stage; an exposure may have several.
        """
        found: dict[str, list[str]] = {}
        for name, verdict in self.verdicts.items():
            if verdict.state != "rejected":
                continue
            if verdict.by == "rules":
                causes = [_cause(self.counts[i].rule) for i in verdict.rules]
            else:
                causes = list(verdict.reasons)
            for cause in causes:
                found.setdefault(cause, []).append(name)
        return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def evaluate(
    records: Sequence[ExposureRecord],
    rules: Sequence[Rule],
    decisions: Mapping[str, Decision] | None = None,
) -> Curation:
    """Return the verdict on every exposure.

    A person's decision wins over rules and failures; a failed stage over rules.

    Parameters
    ----------
    records
        The session's exposures, in order: windows and medians are over them.
    rules
        What an exposure must fulfil.
    decisions
        Those that stand, by exposure; see `standing_decisions`.
    """
    standing = decisions or {}
    taken, unknown, texts = [], [], []
    for rule in rules:
        outcome, detail = _apply(rule, records)
        taken.append(outcome == -1)
        unknown.append(int(np.sum(outcome == 0)))
        texts.append(detail)
    table = np.array(taken, dtype=bool).reshape(len(rules), len(records))
    off = _stages_off(records)
    verdicts: dict[str, Verdict] = {}
    for i, record in enumerate(records):
        done = {state for stage, state in record.status.items() if stage not in off} == {"done"}
        hit = tuple(int(r) for r in np.flatnonzero(table[:, i]))
        reasons = tuple(f"{_cause(rules[r])} ({texts[r][i]})" for r in hit)
        verdicts[record.name] = _verdict(record, done, hit, reasons, standing.get(record.name))
    names = [record.name for record in records]
    alone = table.sum(axis=0) == 1
    counts = tuple(
        RuleCount(
            rule,
            tuple(n for n, t in zip(names, row, strict=True) if t),
            tuple(n for n, t, a in zip(names, row, alone, strict=True) if t and a),
            missing,
        )
        for rule, row, missing in zip(rules, table, unknown, strict=True)
    )
    return Curation(verdicts, counts)


def _stages_off(records: Sequence[ExposureRecord]) -> tuple[str, ...]:
    # Without a particle diameter a session ends with the CTF.
    picked = any(record.status.get("pick", "waiting") != "waiting" for record in records)
    return () if picked else ("pick", "extract")


def _verdict(
    record: ExposureRecord,
    done: bool,
    hit: tuple[int, ...],
    reasons: tuple[str, ...],
    by: Decision | None,
) -> Verdict:
    if by is not None:
        state: State = "accepted" if by.decision == "accept" else "rejected"
        why = by.reason or f"{state} by hand"
        return Verdict(record.name, state, "person", (f"{why} ({by.who})",), hit)
    if record.failure is not None:
        why = f"{record.failure.stage} failed"
        return Verdict(record.name, "rejected", "failure", (why,), hit)
    if hit:
        return Verdict(record.name, "rejected", "rules", reasons, hit)
    return Verdict(record.name, "accepted" if done else "pending", "rules")


def _cause(rule: Rule) -> str:
    return rule.reason or f"not {rule}"


def _apply(rule: Rule, records: Sequence[ExposureRecord]) -> tuple[AnyArray, list[str]]:
    """Return 1 where the rule holds, -1 where it does not, 0 where it can say nothing; and why.

    In this order of the three values "and" is the minimum and "or" the maximum (Kleene's logic).
    """
    outcome = np.full(len(records), -1)
    details: list[list[str]] = [[] for _ in records]
    for alternative in rule.alternatives:
        part = np.ones(len(records), dtype=int)
        for condition in alternative:
            held, texts = _condition(condition, records)
            part = np.minimum(part, held)
            for detail, text in zip(details, texts, strict=True):
                if text not in detail:
                    detail.append(text)
        outcome = np.maximum(outcome, part)
    return outcome, [", ".join(detail) for detail in details]


def _condition(
    condition: Condition, records: Sequence[ExposureRecord]
) -> tuple[AnyArray, list[str]]:
    if isinstance(condition, FlagCondition):
        return _flags(condition, records)
    values = measured(values_of(records, condition.name), condition.measure, condition.window)
    return _limits(condition, values), [f"{condition.subject} = {v:.4g}" for v in values]


def _flags(
    condition: FlagCondition, records: Sequence[ExposureRecord]
) -> tuple[AnyArray, list[str]]:
    held, texts = [], []
    for record in records:
        flags = tuple(flag for stage in record.flags.values() for flag in stage)
        fine = condition.holds(flags)
        held.append(1 if fine else -1)
        texts.append("" if fine else next(f for f in flags if not condition.holds((f,))))
    return np.array(held, dtype=int), texts


def _limits(condition: NumberCondition, values: FloatArray) -> AnyArray:
    return np.array(
        [0 if np.isnan(v) else (1 if condition.holds(float(v)) else -1) for v in values], dtype=int
    )
