"""The `icefloe` command: finds the subcommand, loads only that, and prints errors in one line."""

from __future__ import annotations

import importlib
import sys

import click

from icefloe import __version__
from icefloe.cli.signals import StoppedError, stop_on_signals
from icefloe.errors import IcefloeError

__all__ = ["cli", "main"]

# name: (module, one line of help). The help stands here so that `--help` imports nothing.
_COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("icefloe.cli.demo", "Simulate a small session, process it, score it."),
    "init": ("icefloe.cli.init", "Make a session directory with its settings file."),
    "run": ("icefloe.cli.run", "Process a session: all stages for every exposure."),
    "status": ("icefloe.cli.status", "Show what of a session is done, waiting or failed."),
    "verify": ("icefloe.cli.verify", "Check that a session's files are there and unchanged."),
    "provenance": ("icefloe.cli.provenance", "Show which run, settings and machine made what."),
    "reference": ("icefloe.cli.reference", "Show or replace what a session picks with."),
    "curate": ("icefloe.cli.curate", "Accept or reject exposures by rules and by hand."),
    "report": ("icefloe.cli.report", "Write one self-contained HTML page about a session."),
    "serve": ("icefloe.cli.serve", "Show a session in the browser, live."),
    "export": ("icefloe.cli.export", "Write a session's results for other programs."),
    "motion": ("icefloe.cli.motion", "Correct the motion in movies."),
    "ctf": ("icefloe.cli.ctf", "Estimate the CTF of micrographs."),
    "denoise": ("icefloe.cli.denoise", "Take noise out of micrographs, for looking and picking."),
    "pick": ("icefloe.cli.pick", "Find particles in micrographs."),
    "train": ("icefloe.cli.train", "Train the neural picker on your picks."),
    "extract": ("icefloe.cli.extract", "Cut out picked particles."),
    "cluster": ("icefloe.cli.cluster", "Check workers and clusters; print templates for them."),
    "classify": ("icefloe.cli.classify", "Make 2D class averages, and templates from them."),
    "coordinates": ("icefloe.cli.coordinates", "Convert and compare particle coordinates."),
    "boxsize": ("icefloe.cli.boxsize", "Say how large a particle's box should be."),
    "gain": ("icefloe.cli.gain", "Estimate, orient or apply a gain reference."),
    "header": ("icefloe.cli.header", "Show what is in a file."),
    "simulate": ("icefloe.cli.simulate", "Make movies with a known truth."),
}


class _LazyGroup(click.Group):
    """A group that imports a subcommand's module only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # click's own message lists every command's help, which would import them all.
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="icefloe")
def cli() -> None:
    """Cryo-EM single-particle preprocessing: movies in, particles out."""


def main(args: list[str] | None = None) -> int:
    """Run the command line; the return value is the exit status."""
    try:
        with stop_on_signals():
            status = cli.main(args=args, prog_name="icefloe", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        click.echo(
            "Stopped. What was finished is kept; the same command goes on from there.", err=True
        )
        cause = stop.__cause__ or stop  # click turns a KeyboardInterrupt into an Abort
        sys.exit(cause.status if isinstance(cause, StoppedError) else 130)
    except IcefloeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output, such as head, went away
        sys.exit(1)
    # Outside its standalone mode click returns the status of `ctx.exit` instead of leaving.
    if isinstance(status, int) and status:
        sys.exit(status)
    return 0
