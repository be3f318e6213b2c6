"""`icefloe cluster`: do workers start, see the session and give the right results?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from icefloe.cli.worker_options import WorkerChoice, worker_options

if TYPE_CHECKING:
    from icefloe.engine.pool import WorkerPool
    from icefloe.engine.probe import WorkerFacts

__all__ = ["command"]

_TEMPLATES = ("slurm", "pbs")


@click.group("cluster", help="Check workers and clusters; print templates for them.")
def command() -> None:
    """Group the commands."""


@command.command(
    "template",
    help="""Print a Parsl configuration to start from.

    icefloe cluster template slurm > slurm.py
    """,
)
@click.argument("system", type=click.Choice(_TEMPLATES))
def template(system: str) -> None:
    """Print the file."""
    from importlib.resources import files

    text = files("icefloe.engine") / "parsl_templates" / f"{system}.py.txt"
    click.echo(text.read_text(encoding="utf-8"), nl=False)


@command.command(
    "manager",
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    help="Start workers on a node; Parsl calls it.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def manager(arguments: tuple[str, ...]) -> None:
    """Run Parsl's manager with queues that outlive a killed worker."""
    from icefloe.engine.manager import main

    main(list(arguments))


@command.command(
    "check",
    help="""Start workers, ask each what it sees, and let them process a tiny session.

    Says what is wrong: no worker comes, they do not see the session's file system, another
    version, no GPU, clocks that differ. The exit status is 1 if anything is.
    """,
)
@worker_options
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    show_default="here",
    help="Where sessions will lie; a temporary one is made there and removed.",
)
@click.option(
    "--wait",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    help="Seconds to wait for the first worker; longer where jobs queue.",
)
@click.option("--gpu", is_flag=True, help="Call it wrong if a worker has no GPU.")
@click.pass_context
def check(
    context: click.Context, workers: WorkerChoice, directory: Path, wait: float, gpu: bool
) -> None:
    """Print one line a question and what to do about wrong answers."""
    import tempfile

    if not workers.count and workers.config is None:
        workers = WorkerChoice(2, None, workers.limit)
    with tempfile.TemporaryDirectory(prefix=".icefloe-check-", dir=directory) as scratch:
        problems = _check(workers, Path(scratch).resolve(), wait, gpu)
    if problems:
        click.echo(f"\n{len(problems)} problem(s):")
        for text in problems:
            click.echo(f"  {text}")
        context.exit(1)
    click.echo("\nWorkers are ready.")


def _check(workers: WorkerChoice, scratch: Path, wait: float, gpu: bool) -> list[str]:
    from icefloe.engine.pool import WorkerPool
    from icefloe.engine.pool_config import worker_count

    config = workers.parsl_config(scratch / "parsl", "auto")
    count = worker_count(config)
    _say("configuration", f"{workers.config or 'this machine'}: up to {count or '?'} workers")
    begin = time.perf_counter()
    with WorkerPool(config, device="auto", threads=1, limit=wait) as pool:
        facts = _ask(pool, scratch, count, wait)
        if not facts:
            _say("workers", "none came")
            return [_nobody(pool, wait)]
        _say("workers", f"the first one after {time.perf_counter() - begin:.0f} s")
        problems = _judge(facts, gpu)
        if not problems:
            problems = _tiny_session(pool, scratch)
    return problems


def _ask(pool: WorkerPool, scratch: Path, count: int, wait: float) -> list[WorkerFacts]:
    """Return the answers of the workers that come in time, one for each worker."""
    from concurrent.futures import FIRST_COMPLETED
    from concurrent.futures import wait as wait_for

    from icefloe.engine.probe import probe

    token = "seen-by-the-coordinator"
    (scratch / token).write_text(token, encoding="utf-8")
    # More probes than workers: each should meet one.
    futures = [pool.submit(probe, str(scratch), token) for _ in range(2 * max(count, 2))]
    done = wait_for(futures, timeout=wait, return_when=FIRST_COMPLETED).done
    if done:
        done = wait_for(futures, timeout=min(wait, 5.0)).done
    facts = {}
    for future in done:
        if future.exception() is None:
            answer: WorkerFacts = future.result()
            facts[answer.host, answer.pid] = answer
    return list(facts.values())


def _judge(facts: Sequence[WorkerFacts], gpu: bool) -> list[str]:
    """Print what the workers said and return what is wrong."""
    import platform

    from icefloe import __version__

    problems: list[str] = []
    for f in facts:
        card = f"{f.device} (card {f.cards})" if f.cards else f.device
        _say(
            f"{f.host} {f.pid}",
            f"{f.cores} cores, {f.memory:.0f} GB, {card}, Python {f.python}, icefloe {f.icefloe}",
        )
        who = f"{f.host} (process {f.pid})"
        if f.reads:
            problems.append(
                f"{who} does not see this session: {f.reads}. Put the session on a file system "
                "that all nodes share (--directory)."
            )
        elif f.writes:
            problems.append(f"{who} cannot write here: {f.writes}.")
        elif not -5 < f.clock < 300:
            problems.append(f"{who}: its clock is off by {f.clock:.0f} s. Set it (NTP).")
        if f.icefloe != __version__:
            problems.append(
                f"{who} has icefloe {f.icefloe} from {f.source}, and this is {__version__}: "
                "activate the same environment in worker_init."
            )
        if f.python.rpartition(".")[0] != platform.python_version().rpartition(".")[0]:
            problems.append(f"{who} has Python {f.python}; tasks need the same one as here.")
        if gpu and not f.device.startswith("cuda"):
            problems.append(
                f"{who} has no GPU ({f.device}): ask the batch system for one, and install a CUDA "
                "build of torch."
            )
    cards = [(f.host, f.cards) for f in facts if f.device.startswith("cuda")]
    if len(set(cards)) < len(cards):
        problems.append(
            "Several workers share a GPU: set available_accelerators in the configuration."
        )
    return problems


def _tiny_session(pool: WorkerPool, scratch: Path) -> list[str]:
    """Process two simulated micrographs with the workers and here, and compare."""
    from icefloe.engine import Session, register, run_session
    from icefloe.engine.setup import Changes, open_or_create
    from icefloe.project import load_record
    from icefloe.simulate import SimulationSettings, simulate_micrograph, write_micrograph

    raw = scratch / "raw"
    raw.mkdir()
    # So small a field has few rings; these make them plain.
    settings = SimulationSettings(
        shape=(512, 512), pixel_size=1.5, defocus=12000.0, debris=0.1, contrast=1.0
    )
    for name in ("one", "two"):
        write_micrograph(simulate_micrograph(settings, name), raw)
    found = []
    for place, workers in (("there", pool), ("here", None)):
        changes: Changes = {"data": {"pixel_size": 1.5}, "pick": {"method": "auto"}}
        project, chosen = open_or_create(scratch / place, changes, may_create=True)
        register(project, sorted(raw.glob("*.mrc")))
        begin = time.perf_counter()
        summary = run_session(Session(project, chosen, "cpu"), pool=workers)
        if summary.failures:
            failure = next(iter(summary.failures.values()))
            return [f"A tiny session fails in its {failure.stage}: {failure.message}"]
        records = [load_record(project, name, "") for name in ("one", "two")]
        found.append([float((r.ctf or {}).get("defocus_u", 0)) for r in records])
        _say(f"tiny session {place}", f"{time.perf_counter() - begin:.1f} s")
    differ = [abs(a - b) for a, b in zip(*found, strict=True)]
    if not min(found[1]) > 0:
        return [f"The tiny session's CTF was not found: {found}"]
    if max(differ) > 1.0:
        return [f"Workers find another defocus than this machine, by {max(differ):.1f} A."]
    return []


def _nobody(pool: WorkerPool, wait: float) -> str:
    """Return what is known about why no worker came."""
    texts = []
    for executor in pool.config.executors:
        for block, status in getattr(executor, "status", dict)().items():
            texts.append(f"block {block}: {status}")
    return (
        f"No worker came within {wait:.0f} s ({'; '.join(texts) or 'no job was started'}). Jobs "
        "that wait in the queue need a longer --wait. Jobs that start and end at once have their "
        f"reason under {pool.config.run_dir}/*/submit_scripts/*.stderr; often the environment is "
        "not activated (worker_init) or 'address' cannot be reached from the nodes."
    )


def _say(what: str, text: str) -> None:
    click.echo(f"{what:<20} {text}")
