"""The box formula and its command."""

import pytest
from click.testing import CliRunner

from icefloe.cli.boxsize import command, parse_defocus
from icefloe.errors import MissingMetadataError, SettingsError
from icefloe.extraction import ExtractSettings, binned_box, choose_box


@pytest.mark.parametrize(
    ("text", "value"),
    [("20000", 2e4), ("2um", 2e4), ("1.5 µm", 1.5e4), ("2000nm", 2e4), ("9000A", 9e3), ("0", 0)],
)
def test_defocus_is_read_with_or_without_unit(text, value):
    assert parse_defocus(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["2", "two", "", "um", "2 mm"])
def test_a_defocus_that_cannot_be_meant_is_refused(text):
    with pytest.raises(SettingsError):
        parse_defocus(text)


def test_the_published_example():
    """150 A, 2 um, 3 A at 300 kV: 150 + 2 x 0.0197 x 20000 / 3 = 413 A."""
    arguments = ["--diameter", "150", "--defocus", "2um", "--resolution", "3"]
    result = CliRunner().invoke(command, [*arguments, "--pixel-size", "1.1"])
    assert result.exit_code == 0
    assert "131.2 A on each side" in result.output
    assert "412.5 A" in result.output
    assert "375.0 -> 378" in result.output  # 378 = 2 x 3^3 x 7
    assert "px" not in CliRunner().invoke(command, arguments).output


def test_the_automatic_box_follows_the_formula():
    settings = ExtractSettings(max_defocus=20000, resolution=3)
    assert choose_box(settings, pixel_size=1.1, diameter=150) == 378
    assert choose_box(ExtractSettings(box=256), pixel_size=1.1) == 256
    assert ExtractSettings(box="auto").box is None
    with pytest.raises(MissingMetadataError, match="diameter"):
        choose_box(settings, pixel_size=1.1)


def test_binning_gives_the_nearest_even_box():
    size, pixel = binned_box(ExtractSettings(bin_to=4.0), 200, 1.5)
    assert size == 76  # 75 is odd
    assert pixel == pytest.approx(300 / 76)
    assert binned_box(ExtractSettings(output_box=64), 200, 1.5) == (64, 300 / 64)
    assert binned_box(ExtractSettings(), 200, 1.5) == (200, 1.5)
    with pytest.raises(SettingsError, match="cannot be made"):
        binned_box(ExtractSettings(bin_to=1.0), 200, 1.5)
