"""Curation of a session: journal, command, lists, export, report, and the stage that measures."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fake_session import make_session
from icefloe.curation import (
    DEFAULT_RULES,
    add_decisions,
    load_curation,
    parse_rule,
    read_journal,
    read_rules,
    standing_decisions,
    write_rules,
)
from icefloe.curation.journal import journal_path
from icefloe.errors import ProjectError, SettingsError
from icefloe.formats import read_star
from icefloe.project import Project, load_records, read_sidecar
from session_tools import icefloe

pytest_plugins = ["session_fixtures"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Twenty movies: number 4 has no Thon rings, number 6 failed in its import."""
    return make_session(tmp_path / "s", 20, micrograph_only=False, preview=32)


def verdicts(project: Project) -> dict[str, str]:
    curation = load_curation(project)
    assert curation is not None
    return {name: verdict.state for name, verdict in curation.verdicts.items()}


class TestJournal:
    def test_the_last_decision_stands(self, project: Project) -> None:
        add_decisions(project, "reject", ["a", "b"], "dirt")
        add_decisions(project, "accept", ["a"])
        add_decisions(project, "undo", ["b"])
        decisions, broken = read_journal(project)
        assert [d.decision for d in decisions] == ["reject", "reject", "accept", "undo"]
        assert broken == 0
        standing = standing_decisions(decisions)
        assert list(standing) == ["a"]
        assert standing["a"].decision == "accept"
        assert standing["a"].who
        assert standing["a"].time.endswith("+00:00")

    def test_it_survives_the_loss_of_its_end_at_any_byte(self, project: Project) -> None:
        path = journal_path(project)
        add_decisions(project, "reject", ["a"], "first é")
        whole = path.stat().st_size
        add_decisions(project, "reject", ["b"], "second é")
        content = path.read_bytes()
        for length in range(whole, len(content)):
            path.write_bytes(content[:length])
            add_decisions(project, "accept", ["c"])
            decisions, broken = read_journal(project)
            names = [d.exposure for d in decisions]
            # Without its line feed alone the second line is still whole.
            cut = whole < length < len(content) - 1
            assert names == (["a", "b", "c"] if length == len(content) - 1 else ["a", "c"])
            assert broken == int(cut)

    def test_lines_that_are_none_are_passed_over(self, project: Project) -> None:
        add_decisions(project, "reject", ["a"])
        with journal_path(project).open("ab") as handle:
            handle.write(b'[1]\n{"time": "t"}\n\xff\xfe\n\n{"time":"t","who":"w","exposure":"b",')
            handle.write(b'"decision":"burn"}\n')
        decisions, broken = read_journal(project)
        assert [d.exposure for d in decisions] == ["a"]
        assert broken == 4


class TestRulesFile:
    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        rules = (*DEFAULT_RULES, parse_rule('no flag "it\'s"', 'a "reason"'))
        write_rules(tmp_path / "rules.toml", rules)
        assert read_rules(tmp_path / "rules.toml") == rules

    def test_the_built_in_ones_can_be_added_to(self, tmp_path: Path) -> None:
        path = tmp_path / "rules.toml"
        path.write_text("defaults = true\n[[rule]]\nkeep = 'a.b < 3'\n")
        assert read_rules(path) == (*DEFAULT_RULES, parse_rule("a.b < 3"))

    @pytest.mark.parametrize(
        "text", ["[[rule]]\nkep = 'a.b < 3'", "rule = 3", "[[", "[[rule]]\nkeep = 'x'"]
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(SettingsError, match=r"r\.toml|The rule 'x'"):
            read_rules(tmp_path / "r.toml")
        with pytest.raises(ProjectError):
            read_rules(tmp_path / "none.toml")


class TestCommand:
    def test_preview_writes_nothing(
        self, project: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = sorted(project.root.rglob("*"))
        assert icefloe("curate", project.root) == 0
        text = capsys.readouterr().out
        found = [p for p in sorted(project.root.rglob("*")) if "index" not in p.name]
        assert found == before  # the index is a cache
        lines = text.splitlines()
        place = next(i for i, line in enumerate(lines) if line.endswith("no flag 'no Thon rings'"))
        assert lines[place].split()[:3] == ["1", "0", "0"]  # it has no picks either
        assert lines[place + 1].strip() == "movie_0004"
        assert "18 accepted, 2 rejected (1 because a stage failed)" in text
        assert load_curation(project) is None

    def test_apply_writes_rules_and_lists(self, project: Project) -> None:
        rule = "ctf.fit_resolution <= 4"
        assert icefloe("curate", project.root, "--rule", rule, "--no-defaults", "--apply") == 0
        expected = {
            r.name: "rejected"
            if r.failure or (r.ctf is not None and r.ctf["fit_resolution"] > 4)
            else "accepted"
            for r in load_records(project)
        }
        assert 3 < list(expected.values()).count("rejected") < 17
        assert verdicts(project) == expected
        accepted = (project.root / "curation" / "accepted.txt").read_text().split()
        assert accepted == [n for n, s in expected.items() if s == "accepted"]
        rejected = (project.root / "curation" / "rejected.txt").read_text().splitlines()
        assert len(accepted) + len(rejected) == 20
        assert "movie_0006\timport failed" in rejected
        content = json.loads((project.root / "curation" / "verdicts.json").read_text())
        assert {e["name"]: e["state"] for e in content["exposures"]} == expected
        assert content["rules"][0]["keep"] == rule

    def test_hand_wins_and_outlives_the_rules(self, project: Project) -> None:
        icefloe("curate", project.root, "--apply")
        assert icefloe("curate", project.root, "--reject", "movie_000[12]", "--reason", "dirt") == 0
        assert icefloe("curate", project.root, "--accept", "movie_0004") == 0
        icefloe("curate", project.root, "--no-defaults", "--rule", "pick.n_picks < 0", "--apply")
        found = verdicts(project)
        assert [n for n, s in found.items() if s == "accepted"] == ["movie_0004"]
        icefloe("curate", project.root, "--defaults", "--apply")
        icefloe("curate", project.root, "--undo", "movie_0004")
        found = verdicts(project)
        names = [n for n, s in found.items() if s == "rejected"]
        assert names == ["movie_0001", "movie_0002", "movie_0004", "movie_0006"]
        lines = (project.root / "curation" / "rejected.txt").read_text()
        assert lines.startswith("movie_0001\tdirt (")

    def test_only_by_hand(self, project: Project) -> None:
        assert icefloe("curate", project.root, "--reject", "movie_0001") == 0
        found = [n for n, s in verdicts(project).items() if s == "rejected"]
        assert found == ["movie_0001", "movie_0006"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--reject", "movie_9999"], "Did you mean 'movie_00"),
            (["--rule", "ctf.fit_resolutoin < 5"], "ctf.fit_resolution"),
            (["--rule", "what"], "cannot be read"),
            (["--reason", "x"], "--reason goes with"),
            (["--accept", "movie_0001", "--reject", "movie_*"], "both accepted and rejected"),
        ],
    )
    def test_mistakes(
        self,
        project: Project,
        capsys: pytest.CaptureFixture[str],
        arguments: list[str],
        message: str,
    ) -> None:
        assert icefloe("curate", project.root, *arguments) != 0
        assert message in capsys.readouterr().err
        assert not (project.root / "curation").exists()

    def test_numbers_are_listed(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        assert icefloe("curate", project.root, "--numbers") == 0
        rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
        assert rows["motion.motion_total"][0] == "19"
        assert rows["ctf.fit_resolution"][0] == "18"  # one failed, one has no rings
        assert "motion.global_shifts" not in rows

    def test_status_and_report_tell(
        self, project: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (project.root / "icefloe.toml").write_text("schema = 1\n")
        icefloe("status", project.root)
        assert "Curated" not in capsys.readouterr().out
        icefloe("curate", project.root, "--apply")
        icefloe("curate", project.root, "--reject", "movie_0002", "--reason", "<dirt>")
        capsys.readouterr()
        assert icefloe("status", project.root) == 0
        text = capsys.readouterr().out
        assert "Curated: 17 accepted, 3 rejected" in text
        assert "1  no CTF was found" in text
        assert icefloe("report", "--project", project.root) == 0
        page = (project.root / "report" / "report.html").read_text()
        assert "Rejected: &lt;dirt&gt; (" in page
        assert page.count('class="flag" title="no CTF was found') == 1


class TestPdf:
    def test_it_is_one_and_the_same(self, project: Project) -> None:
        icefloe("curate", project.root, "--apply")
        path = project.root / "report" / "report.pdf"
        assert icefloe("report", "--project", project.root, "--pdf") == 0
        first = path.read_bytes()
        assert first.startswith(b"%PDF")
        assert first.count(b"/Type /Page\n") + first.count(b"/Type /Page ") == 4
        assert b"CreationDate" not in first
        assert icefloe("report", "--project", project.root, "--pdf") == 0
        assert path.read_bytes() == first

    def test_a_session_without_results_has_its_first_page(self, tmp_path: Path) -> None:
        assert icefloe("init", tmp_path / "s") == 0
        assert icefloe("report", "--project", tmp_path / "s", "--pdf") == 0
        content = (tmp_path / "s" / "report" / "report.pdf").read_bytes()
        assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") == 1


class TestRealSession:
    def test_a_session_of_before_is_finished_and_gets_its_numbers(self, session: Path) -> None:
        project = Project.open(session)
        path = project.sidecar("movie_1", "look")
        before = read_sidecar(path)
        assert before is not None
        assert before.numbers["roughness"] > 0
        for sidecar in session.glob("exposures/*/look.json"):
            sidecar.unlink()
        kept = {p: p.stat().st_mtime_ns for p in session.glob("exposures/*/*.json")}
        assert [r.state for r in load_records(project)] == ["done", "done", "failed"]
        assert icefloe("run", "--project", session, "--device", "cpu") == 0
        after = read_sidecar(path)
        assert after is not None
        assert after.numbers == before.numbers
        assert {p: p.stat().st_mtime_ns for p in kept} == kept

    def test_export_of_both_sets(self, session: Path) -> None:
        icefloe("curate", session, "--reject", "movie_2", "--reason", 'has "two" words')
        assert icefloe("export", "relion", "--project", session) == 0
        relion = session / "relion"
        for name in ("corrected_micrographs", "micrographs_ctf"):
            table = read_star(relion / f"{name}.star")["micrographs"]
            assert list(table["rlnMicrographName"]) == ["micrographs/movie_1.mrc"]
        particles = read_star(relion / "particles.star")["particles"]
        assert set(particles["rlnMicrographName"]) == {"micrographs/movie_1.mrc"}
        (row,) = read_star(relion / "rejected_micrographs.star")["micrographs"].rows()
        record = next(r for r in load_records(Project.open(session)) if r.name == "movie_2")
        assert row["rlnMicrographName"] == "micrographs/movie_2.mrc"
        assert row["rlnDefocusU"] == pytest.approx(record.numbers["ctf"]["defocus_u"], abs=0.01)
        assert row["icefloeRejectReason"].startswith("has 'two' words (")
        if shutil.which("relion_star_handler"):
            out = session / "copy.star"
            done = subprocess.run(
                ["relion_star_handler", "--i", "relion/rejected_micrographs.star",
                 "--combine", "--o", str(out)],
                cwd=session, capture_output=True, text=True, timeout=100, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            (theirs,) = read_star(out)["micrographs"].rows()
            assert theirs["icefloeRejectReason"] == row["icefloeRejectReason"]

    def test_nothing_accepted_is_said(
        self, session: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        icefloe("curate", session, "--reject", "movie_*")
        assert icefloe("export", "relion", "--project", session) == 1
        assert "are rejected" in capsys.readouterr().err
