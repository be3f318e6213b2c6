"""The package as a whole: errors, help, what is imported when."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import subprocess
import sys

import pytest

import icefloe
from icefloe import errors


def test_every_error_is_exported_and_documented():
    classes = {
        n: c
        for n, c in vars(errors).items()
        if isinstance(c, type) and issubclass(c, errors.IcefloeError)
    }
    assert sorted(classes) == errors.__all__
    assert all(name in (errors.__doc__ or "") for name in classes)


def test_an_error_says_what_was_found_expected_and_what_to_do():
    error = errors.GainShapeError("The gain is 10 x 10", "20 x 20", "Check --gain")
    assert str(error) == "The gain is 10 x 10. Expected 20 x 20. Check --gain."
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.GainShapeError
    assert str(again) == str(error)


def test_every_exported_name_exists():
    for info in pkgutil.walk_packages(icefloe.__path__, "icefloe."):
        if info.name == "icefloe.__main__":
            continue
        module = importlib.import_module(info.name)
        names = getattr(module, "__all__", [])
        for name in names:
            assert hasattr(module, name), f"{info.name}.{name}"


HEAVY = ("torch", "matplotlib", "numba", "scipy", "pydantic", "tifffile")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from icefloe.cli.main import main\n"
        f"try: main({arguments})\n"
        "finally: print('LOADED', [m for m in %r if m in sys.modules])" % (HEAVY,)
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def commands() -> list[str]:
    from icefloe.cli.main import _COMMANDS

    return list(_COMMANDS)


@pytest.mark.parametrize("command", commands())
def test_help_of_every_command(command):
    from click.testing import CliRunner

    from icefloe.cli.main import cli

    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


@pytest.mark.parametrize("command", ["motion", "ctf", "extract", "simulate", "run"])
def test_help_of_commands_imports_no_torch_or_matplotlib(command):
    code = (
        "import sys; from icefloe.cli.main import main\n"
        f"try: main(['{command}', '--help'])\n"
        "finally: print('LOADED', [m for m in %r if m in sys.modules])" % (HEAVY[:3],)
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_a_mistyped_command_is_guessed():
    done = subprocess.run(
        [sys.executable, "-m", "icefloe", "moton"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Did you mean 'motion'" in done.stderr


def test_an_error_is_one_line_and_status_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "icefloe", "ctf", "nothing.mrc", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no file nothing.mrc.")
    assert "Traceback" not in done.stderr
