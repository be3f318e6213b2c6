"""An EER movie through a session: fractions by dose, a short last one, RELION's metadata."""

from __future__ import annotations

import json

import numpy as np
import pytest

from icefloe.engine import DataSettings
from icefloe.errors import SettingsError
from icefloe.formats import read_star
from icefloe.simulate import SimulationSettings, simulate_movie, write_movie
from session_tools import icefloe


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eer")
    settings = SimulationSettings(shape=(256, 256), pixel_size=2.0, n_frames=11, dose_per_frame=2.0)
    # 11 frames of 10 camera frames, 22 e/A^2: fractions of 4 e/A^2 hold 20, the last one 10.
    write_movie(simulate_movie(settings, "falcon"), folder, "eer", raw_per_frame=10)
    status = icefloe(
        "run", folder / "falcon.eer", "--project", folder / "s", "--pixel-size", 2,
        "--gain", next(folder.rglob("*.gain")), "--total-dose", 22,
        "--set", "data.eer_dose_per_fraction=4", "--pick", "auto",
    )  # fmt: skip
    assert status == 0
    return folder / "s"


def sidecar(session, stage):
    return json.loads((session / "exposures" / "falcon" / f"{stage}.json").read_text())


def test_fractions_hold_the_dose_asked_for_and_the_rest_is_kept(session):
    numbers = sidecar(session, "import")["numbers"]
    assert numbers["camera_frames_per_fraction"] == 20
    np.testing.assert_allclose(numbers["frame_dose_factors"], [1, 1, 1, 1, 1, 0.5])
    assert sidecar(session, "motion")["numbers"]["dose_per_frame"] == pytest.approx(4.0)


def test_the_export_tells_relion_how_to_render_it(session):
    assert icefloe("export", "relion", "--project", session) == 0
    general = read_star(session / "relion" / "motion" / "falcon.star")["general"]
    assert general.value("rlnEERGrouping") == 20
    assert general.value("rlnEERUpsampling") == 1
    # RELION leaves the short fraction out.
    assert general.value("rlnImageSizeZ") == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dose_per_frame": 1.0}, "total_dose is not set"),
        ({"total_dose": 9.0, "eer_frames_per_fraction": 5}, "one of them"),
    ],
)
def test_grouping_that_cannot_be(values, message):
    with pytest.raises(SettingsError, match=message):
        DataSettings(**values, eer_dose_per_fraction=2.0)
