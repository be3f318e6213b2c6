"""What the README shows must run as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from icefloe.cli.main import cli

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    from icefloe.formats.tiff import write_tiff_movie
    from icefloe.simulate import SimulationSettings, simulate_movie

    settings = SimulationSettings(
        shape=(512, 512), pixel_size=1.2, n_frames=12, dose_per_frame=2.0, gain_strength=0.0
    )
    movie = simulate_movie(settings, "readme")
    write_tiff_movie(tmp_path / "movie.tiff", movie.frames, 1.2)
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.S)[1]
    assert len([line for line in code.splitlines() if line.strip()]) < 15
    exec(compile(code, "README.md", "exec"), {})
    defocus, n_picks, *shape = re.findall(r"[\d.]+", capsys.readouterr().out)
    assert float(defocus) == pytest.approx(movie.truth.ctf.defocus, abs=300)
    assert int(n_picks) >= 0.5 * len(movie.truth.y)
    assert shape[1:] == ["200", "200"]


def shown_commands() -> list[str]:
    text = README.read_text().replace("\\\n", " ")
    return [line.split("   ")[0].strip() for line in re.findall(r"^    (icefloe .*)$", text, re.M)]


@pytest.mark.parametrize("line", shown_commands())
def test_the_commands_shown_have_the_options_shown(line):
    words = shlex.split(line)[1:]
    names = [w for w in words if re.fullmatch(r"[a-z]+", w)][:2]
    help_text = CliRunner().invoke(cli, [names[0], "--help"]).output
    if "Commands:" in help_text:
        help_text += CliRunner().invoke(cli, [*names, "--help"]).output
    for option in (w for w in words if w.startswith("--")):
        assert re.search(rf"{option}\b", help_text), f"{line}: {option}"
