"""The denoiser: what it leaves, what it takes away, what it refuses."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from icefloe.errors import (
    DeviceError,
    FitError,
    InputError,
    MissingMetadataError,
    SettingsError,
    UnsupportedFormatError,
)
from icefloe.formats import StarTable, read_image, read_star, write_mrc, write_star
from icefloe.fourier import resize, set_threads
from icefloe.interop.optics import OpticsGroup, optics_table
from icefloe.network.denoise_field import denoise_field

torch = pytest.importorskip("torch")

from icefloe.cli.main import cli, main  # noqa: E402
from icefloe.network import (  # noqa: E402
    DenoiserCard,
    DenoiserModel,
    DenoiserStep,
    DenoiserTrainSettings,
    denoise_image,
    load_denoiser,
    save_denoiser,
    train_denoiser,
)
from icefloe.network.denoise import answer, noise_back, tiled  # noqa: E402
from icefloe.network.denoise_net import FLOOR, DenoiserNet, bands  # noqa: E402
from icefloe.network.denoise_pairs import half_pair  # noqa: E402
from icefloe.network.loop import Cycle, train_cycle  # noqa: E402
from icefloe.network.synthetic.halves import random_halves  # noqa: E402
from icefloe.picking.normalise import padded_border  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    set_threads(1)
    yield
    set_threads(0)


# A set of seeds that the recipe does not use.
UNSEEN = 77


def balls(side=512, pixel_size=3.0, diameter=150.0, depth=1.0, halves=1, seed=0):
    """Micrographs of dark balls without noise and, `halves` of them, with noise of variance 1."""
    rng = np.random.default_rng(seed)
    step = 1.6 * diameter / pixel_size
    y, x = np.mgrid[:side, :side].astype(np.float32)
    clean = np.zeros((side, side), np.float32)
    for v in np.arange(step / 2, side, step):
        for u in np.arange(step / 2, side, step):
            dy, dx = rng.uniform(-0.2, 0.2, 2) * step
            r = np.hypot(y - v - dy, x - u - dx) / (diameter / pixel_size / 2)
            clean -= depth * np.sqrt(np.clip(1 - r**2, 0, None))
    return clean, [clean + rng.standard_normal((side, side), np.float32) for _ in range(halves)]


def untrained(seed=0, widths=(8, 8, 8)):
    torch.manual_seed(seed)
    net = DenoiserNet(widths)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    card = DenoiserCard(icefloe="0", name="untrained", data="none", widths=widths, pairs=0)
    return DenoiserModel(card, {k: v.numpy().copy() for k, v in net.state_dict().items()})


# What it does to images


def test_empty_ice_comes_out_empty():
    image = np.random.default_rng(1).normal(100, 10, (1200, 1200)).astype(np.float32)
    found = denoise_image(image, pixel_size=2.0)
    # What a cut to the same finest detail would have left.
    plain = resize(image - image.mean(), (400, 400)).std()
    assert (found - 100).std() < 0.1 * plain
    assert np.abs(found - 100).max() < 1.0 * plain


def test_in_one_band_it_is_nearer_to_the_truth_than_the_image():
    # A filter that is the same everywhere changes nothing within a narrow band.
    def band(image):
        k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None, :])
        inside = (k > 6.0 / 60) & (k < 6.0 / 30)
        return np.fft.irfft2(np.fft.rfft2(image) * inside, image.shape)[16:-16, 16:-16]

    def agreement(image, clean):
        return np.corrcoef(band(image).ravel(), band(clean).ravel())[0, 1]

    ahead = []
    for i in range(6):
        halves = random_halves((UNSEEN, i), 6.0, size=256)
        noisy = 0.5 * (halves.odd + halves.even)
        if halves.clarity > 0:
            found = denoise_image(noisy, pixel_size=6.0)
            ahead.append(agreement(found, halves.clean) - agreement(noisy, halves.clean))
    assert len(ahead) >= 4
    assert np.median(ahead) > 0.02
    assert min(ahead) > -0.02


@pytest.mark.parametrize(("depth", "kept"), [(0.35, 0.4), (2.0, 0.75)])
def test_particles_stay_dark_and_faint_ones_get_paler(depth, kept):
    clean, (noisy,) = balls(depth=depth)
    found = denoise_image(noisy, pixel_size=3.0)
    slope = np.polyfit(clean.ravel(), found.ravel(), 1)[0]
    assert kept < slope < 1.05


def test_bright_particles_stay_bright():
    _, (noisy,) = balls(depth=0.6)
    dark, bright = denoise_image(noisy, pixel_size=3.0), denoise_image(-noisy, pixel_size=3.0)
    assert np.corrcoef(dark.ravel(), -bright.ravel())[0, 1] > 0.97


def test_grey_values_level_and_strong_things_are_kept():
    rng = np.random.default_rng(2)
    ramp = np.linspace(0, 40, 900)[None, :] * np.ones((900, 1))
    image = 500 + ramp + rng.normal(0, 10, (900, 900))
    image[400:480, 400:480] -= 4000  # a crystal
    found = denoise_image(image, pixel_size=2.0)
    assert found.shape == image.shape
    assert found.dtype == np.float32
    assert abs(found[430:450, 430:450].mean() - image[430:450, 430:450].mean()) < 200
    left, right = found[700:, 100:200].mean(), found[700:, 700:800].mean()
    assert abs((right - left) - 26.7) < 8


def test_the_finest_detail_left_is_12_a():
    _, (noisy,) = balls(side=512, depth=0.5)
    found = denoise_image(noisy, pixel_size=2.0)
    power = np.abs(np.fft.rfft2(found - found.mean())) ** 2
    k = np.hypot(np.fft.fftfreq(512, 2.0)[:, None], np.fft.rfftfreq(512, 2.0)[None, :])
    assert power[k > 1.5 / 12].sum() < 1e-6 * power.sum()


def test_nothing_is_shown_that_was_not_there():
    image = torch.randn(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(bands(image).sum(dim=1, keepdim=True), image, atol=1e-5)
    net = DenoiserNet((8, 8, 8))
    with torch.no_grad():
        net.answer.bias.fill_(20.0)  # all of every band
        np.testing.assert_allclose(net(image), image, atol=1e-5)
        net.answer.bias.fill_(-20.0)  # as little as it can
        parts = bands(image)
        least = FLOOR * parts[:, 4:-1].sum(dim=1, keepdim=True) + parts[:, -1:]
        np.testing.assert_allclose(net(image), least, atol=1e-5)


def test_a_cycle_ends_in_its_best_state():
    """Errors that rise from batch to batch leave the network as it was after the first."""
    net = torch.nn.Linear(1, 1)
    seen = []

    def check(now, step, loss):
        assert now is net
        seen.append({k: v.clone() for k, v in net.state_dict().items()})
        return DenoiserStep(step, loss, abs(step - 1))

    history, best = train_cycle(
        net,
        Cycle(steps=4, learning_rate=0.1, check_every=1, patience=2),
        lambda step: net(torch.ones(1, 1)).sum(),
        check,
        lambda new, old: new.check_loss < old.check_loss,
    )
    assert [s.step for s in history] == [0, 1, 2, 3]  # two in a row that are no better: enough
    assert best == 1
    assert net.weight == seen[1]["weight"] != seen[2]["weight"]


def test_a_cycle_may_validate_the_mean_of_its_networks():
    net = torch.nn.Linear(1, 1)
    first, seen = net.weight.item(), []

    def check(mean, step, loss):
        seen.append((net.weight.item(), mean.weight.item()))
        return DenoiserStep(step, loss, -step)

    train_cycle(
        net,
        Cycle(steps=3, learning_rate=0.1, check_every=1, average=100),
        lambda step: net(torch.ones(1, 1)).sum(),
        check,
        lambda new, old: new.check_loss < old.check_loss,
    )
    assert seen[0] == (first, first)
    last, mean = seen[-1]
    assert last < mean < first
    assert net.weight.item() == mean  # what was validated is what is kept


def test_tiles_leave_no_seam():
    model = untrained()
    pixels = np.random.default_rng(3).standard_normal((64, 640), dtype=np.float32)
    with torch.inference_mode():
        small = tiled(model.net("cpu"), pixels, "cpu", tile=512)
    np.testing.assert_allclose(small, answer(model, pixels), atol=1e-4)


# What it is trained on, and how


def test_simulated_halves_have_independent_noise():
    halves = random_halves((UNSEEN, 4), 6.0, size=128)
    a, b = halves.odd - halves.clean, halves.even - halves.clean
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05
    again = random_halves((UNSEEN, 4), 6.0, size=128)
    np.testing.assert_array_equal(halves.odd, again.odd)


def test_training_on_halves_gets_nearer_to_a_truth_it_never_sees():
    clean, halves = balls(side=480, pixel_size=6.0, diameter=180.0, depth=0.8, halves=3)
    start = untrained(widths=(12, 12, 12))
    settings = DenoiserTrainSettings(steps=12, batch=3, crop=64, learning_rate=6e-3, check_every=6)
    done = train_denoiser(
        [(halves[0], halves[1])], pixel_size=6.0, start=start, settings=settings, name="balls"
    )
    assert done.model.card.start == "untrained"
    assert done.history[done.best].check_loss < done.history[0].check_loss

    def error(model):
        return np.mean((denoise_image(halves[2], pixel_size=6.0, model=model) - clean) ** 2)

    assert error(done.model) < 0.75 * error(start)
    assert error(done.model) < 0.5 * np.mean((clean - clean.mean()) ** 2)


def test_training_that_does_not_help_keeps_the_first():
    _, halves = balls(side=480, pixel_size=6.0, diameter=180.0, halves=2)
    settings = DenoiserTrainSettings(steps=1, batch=1, crop=64, learning_rate=10.0)
    done = train_denoiser([(halves[0], halves[1])], pixel_size=6.0, settings=settings)
    assert done.best == 0
    assert "kept" in done.flags[0]
    for name, values in load_denoiser().tensors.items():
        np.testing.assert_array_equal(done.model.tensors[name], values)

    with pytest.raises(FitError, match="ran away in batch"):
        train_denoiser(
            [(halves[0], halves[1])],
            pixel_size=6.0,
            settings=settings.model_copy(update={"steps": 5, "learning_rate": 1e6}),
        )


# Weights


def test_weights_are_written_and_read(tmp_path):
    model = untrained()
    save_denoiser(tmp_path / "a.safetensors", model)
    found = load_denoiser(tmp_path / "a.safetensors")
    assert found.card == model.card
    for name, values in model.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], values)
    save_denoiser(tmp_path / "b.safetensors", found)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_other_files_are_no_weights(tmp_path):
    from icefloe.network import weights

    with pytest.raises(InputError, match="no weights file"):
        load_denoiser(tmp_path / "missing.safetensors")
    with pytest.raises(UnsupportedFormatError, match="not one of Icefloe's denoisers"):
        load_denoiser(weights.GENERAL)
    good = tmp_path / "good.safetensors"
    save_denoiser(good, untrained())
    with pytest.raises(UnsupportedFormatError, match="not one of Icefloe's pickers"):
        weights.load_model(good)
    whole = good.read_bytes()
    for bad, said in (
        (b"", "not a weights file"),
        (b"PK\x03\x04 zip", "pickle or an archive"),
        (pickle.dumps({"a": 1}), "pickle or an archive"),
        (whole[:-50], "damaged"),
        (whole[:100], "not a weights file"),
        ((1 << 60).to_bytes(8, "little") + whole[8:], "not a weights file"),
        (b"\xff" * 100, "not a weights file"),
        (whole.replace(b'\\"widths\\":[', b'\\"width\\": [', 1), "wrong at 'widths'"),
    ):
        path = tmp_path / "bad.safetensors"
        path.write_bytes(bad)
        with pytest.raises(UnsupportedFormatError, match=said):
            load_denoiser(path)
    other = untrained()
    save_denoiser(
        good, DenoiserModel(other.card.model_copy(update={"widths": (8, 8, 16)}), other.tensors)
    )
    with pytest.raises(UnsupportedFormatError, match="lacks or has other weights"):
        load_denoiser(good)
    save_denoiser(
        good, DenoiserModel(other.card.model_copy(update={"architecture": "x"}), other.tensors)
    )
    with pytest.raises(UnsupportedFormatError, match="holds the network 'x'"):
        load_denoiser(good)


# What it refuses


def test_images_that_cannot_be_denoised():
    image = np.random.default_rng(0).normal(size=(400, 400)).astype(np.float32)
    with pytest.raises(InputError, match="too small to denoise"):
        denoise_image(image[:60, :60], pixel_size=1.0)
    with pytest.raises(InputError, match="are NaN or infinite"):
        denoise_image(np.where(np.arange(400) < 300, np.nan, image), pixel_size=2.0)
    with pytest.raises(InputError, match="equal"):
        denoise_image(np.ones((400, 400)), pixel_size=2.0)
    with pytest.raises(MissingMetadataError, match="pixel size is 0"):
        denoise_image(image, pixel_size=0.0)
    with pytest.raises(SettingsError, match="too coarse"):
        denoise_image(image, pixel_size=40.0)


def test_a_few_bad_pixels_do_not_spread():
    image = np.random.default_rng(0).normal(100, 1, (400, 400)).astype(np.float32)
    image[10:20, 30] = np.nan
    assert np.isfinite(denoise_image(image, pixel_size=2.0)).all()
    assert denoise_field(image, 2.0).pixels.shape == (134, 134)


def test_a_border_that_only_repeats_still_does():
    _, (noisy,) = balls(side=480)
    inner = noisy[20:, :-30]
    filled = np.pad(inner, ((20, 0), (0, 30)), "edge")
    found = denoise_image(filled, pixel_size=3.0)
    assert padded_border(filled) == padded_border(found) == (20, 0, 0, 30)
    assert padded_border(noise_back(found, filled)) == (20, 0, 0, 30)
    np.testing.assert_array_equal(found[20:, :-30], denoise_image(inner, pixel_size=3.0))


def test_halves_that_are_none():
    _, (a, b) = balls(halves=2)
    with pytest.raises(InputError, match="same image"):
        half_pair(a, 2 * a, 3.0)
    with pytest.raises(InputError, match="sizes"):
        half_pair(a, b[:-10], 3.0)
    with pytest.raises(InputError, match="no pairs"):
        train_denoiser([], pixel_size=1.0)


def test_without_torch_one_line_says_so(monkeypatch, capsys, tmp_path):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a)
    )
    with pytest.raises(DeviceError, match="denoiser needs torch"):
        denoise_image(np.zeros((100, 100)), pixel_size=1.0)
    write_mrc(tmp_path / "a.mrc", np.random.default_rng(0).normal(size=(64, 64)).astype("f4"), 6.0)
    with pytest.raises(SystemExit):
        main(["denoise", str(tmp_path / "a.mrc"), "--out", str(tmp_path / "o"), "--device", "cpu"])
    assert "denoiser needs torch" in capsys.readouterr().err


# The command line


def test_denoise_writes_images_that_picks_fit(tmp_path):
    clean, (noisy,) = balls(side=480, pixel_size=3.0, depth=0.6)
    write_mrc(tmp_path / "a.mrc", noisy, 3.0)
    (tmp_path / "broken.mrc").write_bytes(b"no image")
    out = tmp_path / "out"
    result = CliRunner().invoke(
        cli,
        ["denoise", str(tmp_path / "a.mrc"), str(tmp_path / "broken.mrc"), "--out", str(out),
         "--device", "cpu", "--pixel-size", "3"],
    )  # fmt: skip
    assert result.exit_code == 1  # one failed, the other is done
    image = read_image(out / "a.mrc")
    assert image.pixel_size == pytest.approx(3.0)
    quiet = denoise_image(noisy, pixel_size=3.0)
    np.testing.assert_allclose(image.data, 0.5 * (quiet + noisy), atol=1e-4)
    assert (out / "a.png").stat().st_size > 1000
    picked = CliRunner().invoke(
        cli,
        ["pick", "blob", str(out / "micrographs.star"), "--diameter", "150", "--out",
         str(tmp_path / "picks"), "--device", "cpu"],
    )  # fmt: skip
    assert picked.exit_code == 0, picked.output
    table = read_star(tmp_path / "picks" / "a_picks.star")[""]
    depth = clean[table["rlnCoordinateY"].astype(int), table["rlnCoordinateX"].astype(int)]
    assert len(depth) > 20
    assert np.mean(depth < -0.4) > 0.9


def test_train_reads_halves_of_a_star(tmp_path):
    _, halves = balls(side=480, pixel_size=6.0, diameter=180.0, halves=2)
    for name, image in zip(("a_ODD", "a_EVN"), halves, strict=True):
        write_mrc(tmp_path / f"{name}.mrc", image, 6.0)
    write_mrc(tmp_path / "a.mrc", halves[0] + halves[1], 6.0)
    columns = {
        "rlnMicrographName": [str(tmp_path / "a.mrc")],
        "rlnMicrographNameEven": [str(tmp_path / "a_EVN.mrc")],
        "rlnMicrographNameOdd": [str(tmp_path / "a_ODD.mrc")],
        "rlnOpticsGroup": [1],
    }
    optics = optics_table([OpticsGroup(300.0, 2.7, 0.1, 6.0, 6.0)])
    star, model = tmp_path / "corrected.star", tmp_path / "m.safetensors"
    write_star(star, {"optics": optics, "micrographs": StarTable(columns)})
    call = ["denoise", "--train", str(star), "--out", str(model), "--device", "cpu"]
    result = CliRunner().invoke(cli, [*call, "--steps", "2"])
    assert result.exit_code == 0, result.output
    assert load_denoiser(model).card.name == "m"
    with pytest.raises(SettingsError, match="--steps is 0"):
        CliRunner().invoke(cli, [*call, "--steps", "0"], catch_exceptions=False)
    del columns["rlnMicrographNameOdd"]
    write_star(star, {"optics": optics, "micrographs": StarTable(columns)})
    with pytest.raises(InputError, match="no halves of a"):
        CliRunner().invoke(cli, call, catch_exceptions=False)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["--out", "x"], "No micrographs"),
        (["a.mrc", "--out", "x", "--train", "h.star"], "one of the two"),
        (["a.mrc", "--out", "x", "--steps", "3"], "without --train"),
        (["--out", "x", "--train", "h.star", "--keep-noise", "0.2"], "with --train"),
    ],
)
def test_contradictions_are_errors(call, said):
    with pytest.raises(SettingsError, match=said):
        CliRunner().invoke(cli, ["denoise", "--device", "cpu", *call], catch_exceptions=False)


def test_help_imports_no_torch():
    import subprocess

    code = "import sys; from icefloe.cli import denoise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
