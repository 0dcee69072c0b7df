"""The demonstration: real shells, real Locust users, a really bad build.

Everything is done by the ``rollout`` command; this only types it, and adds residents: people who
are in their shells before the releases and still there after them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import patch_ng
from rich.console import Console
from rich.table import Table

from rollout.checks.load import LoadRun, LoadSummary
from rollout.config import load as load_config
from rollout.pipeline.commands import engine_of

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "rollout.yaml"
STATE = HERE / ".rollout"
SERVICES = HERE.parent / "services"
ROLLOUT = [sys.executable, "-m", "rollout", "--config", str(CONFIG)]
RESIDENTS = 8
EXIT_GATE_FAILED = 3

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """The demonstration did not show what it is to show."""


@dataclass(frozen=True)
class Outcome:
    """What there is to show at the end."""

    good: dict[str, Any]
    bad: dict[str, Any]
    residents: LoadSummary
    seconds: float


def rollout(*arguments: str, expect: int = 0) -> str:
    """Run a rollout command as a user would; progress goes to the screen.

    Raises:
        DemoFailed: it ended otherwise than it is to end here.
    """
    console.print(f"\n[bold]$ rollout {' '.join(arguments)}[/]")
    done = subprocess.run([*ROLLOUT, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != expect:
        raise DemoFailed(f"rollout {' '.join(arguments)} ended with {done.returncode}, not {expect}")
    return done.stdout


def say(text: str) -> None:
    """Tell the audience what comes next."""
    console.print(f"\n[bold cyan]{text}[/]")


def newest(environment: str) -> dict[str, Any]:
    """The newest rollout of an environment, from the ledger."""
    done = subprocess.run(
        [*ROLLOUT, "history", environment, "--output", "json"], capture_output=True, text=True, check=True
    )
    record: dict[str, Any] = json.loads(done.stdout)[0]
    return record


def release(folder: Path, version: str, patch: Path | None = None) -> Path:
    """A copy of the services with another version, and with a patch applied.

    Raises:
        DemoFailed: the patch does not fit the source any more.
    """
    copy = folder / version
    shutil.copytree(SERVICES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    project = copy / "pyproject.toml"
    project.write_text(
        re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', project.read_text(), count=1)
    )
    if patch is not None and not patch_ng.fromfile(str(patch)).apply(strip=1, root=str(copy)):
        raise DemoFailed(f"{patch} does not apply to {SERVICES}")
    return copy


def deploy(source: Path) -> None:
    """Build, deploy to dev and wait out dev's soak window."""
    rollout("build", "--source", str(source))
    rollout("deploy", "dev")
    time.sleep(load_config(CONFIG).environment("dev").soak + 0.5)


def play() -> Outcome:
    """The three acts.

    Raises:
        DemoFailed: one of them went otherwise.
    """
    started = time.monotonic()
    config = load_config(CONFIG)
    staging = config.environment("staging")
    with tempfile.TemporaryDirectory(prefix="rollout-demo-") as temporary:
        folder = Path(temporary)
        say("Act 1. A first build goes to dev and, on its evidence, to staging.")
        deploy(SERVICES)
        rollout("promote", "staging")

        say(f"{RESIDENTS} people take up work in live shells on staging. They stay to the end.")
        residents = LoadRun(
            engine_of(config, staging).targets()[0],
            users=RESIDENTS,
            spawn_rate=4,
            cut_every=6,
            directory=STATE / "residents",
        )
        residents.start()
        try:
            residents.wait_ready(60)
            say("Act 2. The next release is promoted to staging under their hands.")
            deploy(release(folder, "0.2.0"))
            console.print("\n[bold]$ rollout promote staging --plan[/]")
            console.print(rollout_quietly("promote", "staging", "--plan"))
            rollout("promote", "staging")
            good = newest("staging")

            say("Act 3. A really bad release: it drops every session that an earlier build created,")
            say("just after attaching it. dev cannot see that: its checks use fresh sessions.")
            deploy(release(folder, "0.3.0", HERE / "reconnection-loop.patch"))
            rollout("promote", "staging", expect=EXIT_GATE_FAILED)
            bad = newest("staging")
        finally:
            say("The residents verify their shells to the last byte and leave.")
            summary = residents.stop()
    report = rollout("report", "staging")
    (STATE / "report.md").write_text(report)
    console.print(report.partition("## Checks")[0], markup=False)
    console.print(f"(the whole report: {STATE / 'report.md'})", markup=False)
    console.print(rollout("history"), markup=False)
    return Outcome(good, bad, summary, time.monotonic() - started)


def rollout_quietly(*arguments: str) -> str:
    """The output of a rollout command."""
    done = subprocess.run([*ROLLOUT, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def verdict(outcome: Outcome) -> list[tuple[str, object, bool]]:
    """What was promised, what was measured, and whether the one is the other."""
    good, bad, people = outcome.good["figures"], outcome.bad["figures"], outcome.residents
    lost = good["bytes_lost"] + bad["bytes_lost"] + people.lost
    doubled = good["bytes_doubled"] + bad["bytes_doubled"] + people.doubled
    twice = good["commands_twice"] + bad["commands_twice"] + people.twice
    verified = good["bytes_verified"] + bad["bytes_verified"] + people.verified
    return [
        ("good build", outcome.good["state"], outcome.good["state"] == "promoted"),
        ("bad build", outcome.bad["state"], outcome.bad["state"] == "rolled-back"),
        ("sessions carried across the promotion", good["sessions_moved"], good["sessions_moved"] > RESIDENTS),
        ("sessions carried across the rollback", bad["sessions_returned"], bad["sessions_returned"] > 0),
        ("sessions severed", good["sessions_severed"] + bad["sessions_severed"],
         good["sessions_severed"] + bad["sessions_severed"] == 0),
        ("residents' shells still there at the end", f"{people.shells_kept} of {RESIDENTS}",
         people.shells_kept == RESIDENTS),
        ("bytes verified by the users themselves", verified, verified > 0),
        ("bytes lost", lost, lost == 0),
        ("bytes doubled", doubled, doubled == 0),
        ("commands run twice", twice, twice == 0),
        ("reconnection loops, good build", good["load_loops"], good["load_loops"] == 0),
        ("reconnection loops, bad build", bad["load_loops"], bad["load_loops"] > 0),
        ("time to promote the good build", f"{good['time_to_promote_s']:.1f} s", True),
        ("failed gate to full traffic on the old build", f"{bad['verdict_to_rolled_back_s']:.1f} s", True),
        ("the whole demo", f"{outcome.seconds:.0f} s", True),
    ]  # fmt: skip


def clean() -> None:
    """Take down what an earlier demo may have left."""
    for environment in load_config(CONFIG).environments.values():
        if any(host.root.exists() for host in environment.hosts.values()):
            subprocess.run([*ROLLOUT, "teardown", environment.name, "--yes"], check=False)
    shutil.rmtree(STATE, ignore_errors=True)


@click.command()
@click.option("--keep", is_flag=True, help="Leave dev and staging running, to look around.")
def main(keep: bool) -> None:
    """Promote a build under live terminals, then a bad one, and see it taken back."""
    clean()
    try:
        rows = verdict(play())
    except (DemoFailed, subprocess.CalledProcessError) as error:
        console.print(f"[bold red]demo: {error}[/]; logs are in {STATE}")
        sys.exit(1)
    table = Table("", "", "", box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value, good in rows:
        table.add_row("[green]✓[/]" if good else "[bold red]✗[/]", name, str(value))
    console.print()
    console.print(table)
    if keep:
        target = engine_of(load_config(CONFIG), load_config(CONFIG).environment("staging")).targets()[0]
        console.print(f"\nstaging: {target.web}#token={target.token}", markup=False)
    else:
        report = (STATE / "report.md").read_text()
        clean()
        STATE.mkdir(exist_ok=True)
        (STATE / "report.md").write_text(report)
    sys.exit(0 if all(good for _, _, good in rows) else 1)


if __name__ == "__main__":
    main()
