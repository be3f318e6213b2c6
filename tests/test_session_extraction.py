"""What a session does with the choices of extraction."""

from __future__ import annotations

from pathlib import Path

from icefloe.formats import read_mrc, read_star
from icefloe.project import Project, load_records
from session_tools import icefloe

pytest_plugins = ["session_fixtures"]


def test_the_ctf_is_applied_and_said_to_be_and_a_second_size_is_written(session: Path) -> None:
    chosen = ("--set", "extract.ctf=multiply", "--set", "extract.small_bin_to=6")
    assert icefloe("run", "--project", session, *chosen) == 0
    record = load_records(Project.open(session))[0]
    extracted = record.numbers["extract"]
    assert extracted["ctf"] == "multiply"
    assert extracted["small"] == {"box": 24, "pixel_size": 6.0}
    small = record.file("extract", "particles_small")
    assert small is not None
    assert read_mrc(small)[0].shape == (extracted["n_particles"], 24, 24)
    # 96 pixels of 1.5 A hold no particle of 120 A at a defocus of 2.5 um.
    text = (session / "exposures" / record.name / "extract.json").read_text()
    assert "is smaller than D + 2 lambda dF / d" in text
    assert icefloe("export", "relion", "--project", session) == 0
    blocks = read_star(session / "relion" / "particles.star")
    assert blocks["optics"]["rlnCtfDataAreCtfPremultiplied"].tolist() == [1]
    assert "rlnCtfDataAreCtfPremultiplied" not in blocks["particles"]
    other = read_star(session / "relion" / "particles_small.star")
    assert other["optics"]["rlnImageSize"].tolist() == [24]
    assert other["optics"]["rlnImagePixelSize"].tolist() == [6.0]
    assert len(other["particles"]) == len(blocks["particles"])
    assert "_small.mrcs" in other["particles"]["rlnImageName"][0]
