"""Rules and verdicts, against closed formulas and hand-made sessions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from icefloe.curation import DEFAULT_RULES, Decision, evaluate, parse_rule
from icefloe.curation.measures import measured, number_names, values_of
from icefloe.errors import SettingsError
from icefloe.project import ExposureRecord, Failure

DONE = dict.fromkeys(("import", "motion", "ctf", "pick", "extract"), "done")


def record(name: str, flags: tuple[str, ...] = (), **numbers: float) -> ExposureRecord:
    """Numbers are given as stage__key."""
    stages: dict[str, dict[str, float]] = {stage: {} for stage in DONE}
    stages["ctf"] = {"defocus_u": 10000.0, "defocus_v": 9000.0}
    for key, value in numbers.items():
        stage, _, number = key.partition("__")
        stages.setdefault(stage, {})[number] = value
    remarks = dict.fromkeys(DONE, ()) | {"ctf": flags}
    return ExposureRecord(name, "x", "movie", dict(DONE), numbers=stages, flags=remarks)


def taken(rule: str, records: list[ExposureRecord]) -> list[str]:
    return list(evaluate(records, [parse_rule(rule)]).counts[0].taken)


def series(values: list[float], key: str = "motion__motion_total") -> list[ExposureRecord]:
    return [record(f"e{i}", **{key: v}) for i, v in enumerate(values)]


class TestText:
    @pytest.mark.parametrize(
        ("text", "same"),
        [
            ("ctf.fit_resolution<=6", "ctf.fit_resolution <= 6"),
            (" 6 >= ctf.fit_resolution ", "ctf.fit_resolution <= 6"),
            ("z( motion.motion_total )<4.5", "z(motion.motion_total) < 4.5"),
            ("ratio(pick.n_picks,50) > .1", "ratio(pick.n_picks, 50) > 0.1"),
            ("5e3<ctf.defocus<=3E4", "5000 < ctf.defocus <= 30000"),
            ("no flag no signal", "no flag 'no signal'"),
            ("a.b < 1 or no flag 'this or that'", "a.b < 1 or no flag 'this or that'"),
        ],
    )
    def test_is_read_and_written(self, text: str, same: str) -> None:
        assert str(parse_rule(text)) == same
        assert parse_rule(same) == parse_rule(text)

    @pytest.mark.parametrize(
        "text",
        ["", "ctf.fit_resolution", "defocus < 3", "median(a.b) < 3", "a.b = 3", "a.b < x",
         "1 < a.b > 2", "z(a.b, 3) < 2", "a.b < 3 or", "no flag"],
    )  # fmt: skip
    def test_what_cannot_be_read_is_refused(self, text: str) -> None:
        with pytest.raises(SettingsError):
            parse_rule(text)

    def test_the_built_in_rules_can_be_written_out(self) -> None:
        for rule in DEFAULT_RULES:
            assert parse_rule(str(rule), rule.reason) == rule
            assert rule.reason


class TestLimits:
    def test_a_limit_is_exact(self) -> None:
        records = series([5.9, 6.0, 6.1])
        assert taken("motion.motion_total <= 6", records) == ["e2"]
        assert taken("motion.motion_total < 6", records) == ["e1", "e2"]
        assert taken("motion.motion_total >= 6", records) == ["e0"]
        assert taken("5.95 < motion.motion_total < 6.05", records) == ["e0", "e2"]

    def test_z_is_the_robust_score(self) -> None:
        values = np.random.default_rng(3).normal(20, 3, 101)
        values[7] = 60
        z = (values - np.median(values)) / median_abs_deviation(values, scale="normal")
        np.testing.assert_allclose(measured(values, "z", None), z)
        expected = [f"e{i}" for i in np.flatnonzero(z >= 4)]
        assert "e7" in expected
        assert taken("z(motion.motion_total) < 4", series(list(values))) == expected

    def test_a_window_follows_a_change(self) -> None:
        # Half way the microscope was set anew: over all no one is far, in its time one is.
        values = np.r_[np.linspace(9, 11, 40), np.linspace(29, 31, 40)]
        values[10] = 25.0
        records = series(list(values))
        assert taken("z(motion.motion_total) < 4", records) == []
        assert taken("z(motion.motion_total, 21) < 4", records) == ["e10"]

    def test_a_window_is_of_the_nearest(self) -> None:
        values = np.random.default_rng(5).normal(0, 1, 30)
        found = measured(values, "z", 9)
        for place, start in ((0, 0), (3, 0), (15, 11), (29, 21)):
            near = values[start : start + 9]
            z = (values[place] - np.median(near)) / median_abs_deviation(near, scale="normal")
            assert found[place] == pytest.approx(z)

    def test_ratio_is_to_the_median(self) -> None:
        records = series([100.0] * 8 + [9.0, 11.0], "pick__n_picks")
        assert taken("ratio(pick.n_picks) >= 0.1", records) == ["e8"]

    def test_where_most_are_equal_the_others_still_have_a_score(self) -> None:
        values = np.array([1.0] * 20 + [2.0])
        z = measured(values, "z", None)
        assert z[0] == 0
        assert z[-1] > 4
        assert not measured(np.ones(20), "z", None).any()

    def test_of_few_there_is_no_score(self) -> None:
        found = evaluate(series([1.0] * 6 + [50.0]), [parse_rule("z(motion.motion_total) < 3")])
        assert found.counts[0].unknown == 7
        assert found.names("accepted") == [f"e{i}" for i in range(7)]

    def test_one_alternative_is_enough(self) -> None:
        records = series([1.0] * 10 + [1.5, 50.0])
        assert taken("z(motion.motion_total) < 3 or motion.motion_total < 30", records) == ["e11"]

    def test_what_was_not_measured_is_not_judged(self) -> None:
        records = [record("a"), record("b", look__lattice=30.0), record("c", look__lattice=3.0)]
        found = evaluate(records, [parse_rule("look.lattice < 10")])
        assert found.counts[0].taken == ("b",)
        assert found.counts[0].unknown == 1
        assert found.names("accepted") == ["a", "c"]

    def test_flags(self) -> None:
        records = [record("a"), record("b", ("No Thon Rings",)), record("c", ("other",))]
        assert taken("no flag 'no thon rings'", records) == ["b"]

    def test_numbers_without_rings_count_for_nothing(self) -> None:
        bad = record("a", ("no Thon rings",), ctf__fit_resolution=2.0, ctf__iciness=0.2)
        assert np.isnan(values_of([bad], "ctf.fit_resolution")).all()
        assert np.isnan(values_of([bad], "ctf.defocus")).all()
        assert values_of([bad], "ctf.iciness")[0] == 0.2
        assert values_of([record("b")], "ctf.defocus")[0] == 9500.0
        assert "ctf.defocus" in number_names([record("b")])


class TestVerdicts:
    RULES = (parse_rule("ctf.fit_resolution <= 6", "low"), parse_rule("pick.n_picks > 10", "few"))

    def records(self) -> list[ExposureRecord]:
        return [
            record("good", ctf__fit_resolution=4.0, pick__n_picks=50),
            record("low", ctf__fit_resolution=7.0, pick__n_picks=50),
            record("both", ctf__fit_resolution=8.0, pick__n_picks=5),
        ]

    def test_each_rule_says_what_it_takes_and_what_only_it_takes(self) -> None:
        found = evaluate(self.records(), self.RULES)
        low, few = found.counts
        assert (low.taken, low.only) == (("low", "both"), ("low",))
        assert (few.taken, few.only) == (("both",), ())
        assert found.verdicts["both"].reasons == (
            "low (ctf.fit_resolution = 8)",
            "few (pick.n_picks = 5)",
        )
        assert found.by_reason() == [("low", ["low", "both"]), ("few", ["both"])]

    def test_a_person_wins(self) -> None:
        decisions = {
            "low": Decision("t", "ann", "low", "accept", "looks fine"),
            "good": Decision("t", "ann", "good", "reject"),
        }
        found = evaluate(self.records(), self.RULES, decisions)
        assert found.names("accepted") == ["low"]
        assert found.verdicts["low"].by == "person"
        assert found.verdicts["low"].rules == (0,)
        assert found.verdicts["good"].reasons == ("rejected by hand (ann)",)

    def test_failed_and_unfinished(self) -> None:
        failed = ExposureRecord(
            "f", "x", "movie", {**DONE, "ctf": "failed"}, failure=Failure("ctf", "T", "m")
        )
        waiting = ExposureRecord("w", "x", "movie", {**DONE, "pick": "waiting"})
        found = evaluate([*self.records(), failed, waiting], self.RULES)
        assert found.verdicts["f"].by == "failure"
        assert found.verdicts["f"].state == "rejected"
        assert found.names("pending") == ["w"]

    def test_without_picking_an_exposure_ends_with_its_ctf(self) -> None:
        status = {**DONE, "pick": "waiting", "extract": "waiting"}
        found = evaluate([ExposureRecord("w", "x", "movie", status)], self.RULES)
        assert found.names("accepted") == ["w"]
