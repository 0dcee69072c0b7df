"""The demonstration: real shells, real Locust users, a really bad build.

Everything is done by the ``rollout`` command; this only types it, and adds residents: people who
are in their shells before the releases and still there after them.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from demo.source import SERVICES, PatchDoesNotApply, another
from demo.stages import Stage
from demo.stages import stage as choose_stage
from rollout.checks.load import LoadRun, LoadSummary
from rollout.config import load as load_config
from rollout.direct.sites import Site, sites_of
from rollout.errors import EngineError
from rollout.ledger import Ledger
from rollout.model import GateResult, Verdict
from rollout.pipeline.begin import engine_of

HERE = Path(__file__).resolve().parent
EXIT_GATE_FAILED = 3

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """The demonstration did not show what it is to show."""


@dataclass(frozen=True)
class Survived:
    """What became of live shells when their session manager went."""

    shells: int
    ended: int


@dataclass(frozen=True)
class Outcome:
    """What there is to show at the end."""

    good: dict[str, Any]
    bad: dict[str, Any]
    left: str
    """The environment that the good build came from, on these criteria:"""
    criteria: list[GateResult]
    residents: LoadSummary
    replaced: Survived
    killed: Survived
    seconds: float
    spared: list[str]
    """Hosts of the environment that failed the bad build, which it had not reached yet."""
    seen: list[str]
    """Those of them that have got it all the same."""
    good_loops: int
    bad_loops: int


def rollout(stage: Stage, *arguments: str, expect: int = 0) -> str:
    """Run a rollout command as a user would; progress goes to the screen.

    Raises:
        DemoFailed: it ended otherwise than it is to end here.
    """
    console.print(f"\n[bold]$ rollout {' '.join(arguments)}[/]")
    done = subprocess.run([*stage.rollout, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != expect:
        raise DemoFailed(f"rollout {' '.join(arguments)} ended with {done.returncode}, not {expect}")
    return done.stdout


def say(text: str) -> None:
    """Tell the audience what comes next."""
    console.print(f"\n[bold cyan]{text}[/]")


def newest(stage: Stage, environment: str) -> dict[str, Any]:
    """The newest rollout of an environment, from the ledger."""
    record: dict[str, Any] = json.loads(quietly(stage, "history", environment, "--output", "json"))[0]
    return record


def release(folder: Path, version: str, patch: Path | None = None) -> Path:
    """A copy of the services with another version and another session manager, and with a patch applied.

    Raises:
        DemoFailed: the patch does not fit the source any more.
    """
    try:
        copy = another(folder, version, patch)
    except PatchDoesNotApply as error:
        raise DemoFailed(str(error)) from None
    with (copy / "terminals" / "manager" / "__init__.py").open("a") as file:
        file.write("# The next release changes it, too.\n")
    return copy


def shells(sites: Sequence[Site]) -> dict[str, int]:
    """The live sessions of people on an environment's hosts, with the process of each.

    The monitor ends its own.
    """
    found = (entry for site in sites for entry in site.control("sessions")["items"])
    return {entry["id"]: entry["pid"] for entry in found if entry["live"] and "_monitor" not in entry["id"]}


def left_of(before: dict[str, int], sites: Sequence[Site]) -> Survived:
    """How many of these shells are still the same."""
    now = shells(sites)
    return Survived(len(before), sum(now.get(session) != pid for session, pid in before.items()))


def kill_managers(sites: Sequence[Site], residents: Collection[str]) -> Survived:
    """SIGKILL the session manager of every host, and wait until there is another one.

    What is counted are the sessions of ``residents``: the load of a promotion ends its shells after it.

    Raises:
        DemoFailed: there is none.
    """
    before = {session: pid for session, pid in shells(sites).items() if session in residents}
    for site in sites:
        pid = site.control("status")["manager"]["pid"]
        site.ask(*site.beside_manager, "sh", "-c", f"kill -KILL {pid}")
    end = time.monotonic() + 60
    for site in sites:
        while True:
            with contextlib.suppress(EngineError):
                site.control("status")
                break
            if time.monotonic() > end:
                raise DemoFailed(f"{site.name} has no session manager any more")
            time.sleep(0.2)
    return left_of(before, sites)


def deploy(stage: Stage, source: Path) -> None:
    """Build, and deploy to dev."""
    rollout(stage, "build", "--source", str(source))
    rollout(stage, "deploy", "dev")


def promote(stage: Stage) -> None:
    """Promote along the chain, to its end, each time once the monitor has seen enough."""
    for environment in stage.chain:
        rollout(stage, "promote", environment, "--wait")


def show_plan(stage: Stage, environment: str) -> None:
    """What a promotion would do. It ends as a refusal as long as the monitor has not seen enough."""
    subprocess.run([*stage.rollout, "promote", environment, "--plan"], check=False)


def play(stage: Stage) -> Outcome:
    """The three acts.

    Raises:
        DemoFailed: one of them went otherwise.
    """
    started = time.monotonic()
    config = load_config(stage.config)
    first, last = stage.chain[0], stage.chain[-1]
    with tempfile.TemporaryDirectory(prefix="rollout-demo-") as temporary:
        folder = Path(temporary)
        say(f"Act 1. A first build goes to dev and, on its evidence, to {' and '.join(stage.chain)}.")
        deploy(stage, SERVICES)
        say("A monitor uses it as people do. What it must have seen is seconds here, not a day.")
        promote(stage)

        say(f"{stage.residents} people take up work in live shells on {last}. They stay to the end.")
        residents = LoadRun(
            engine_of(config, config.environment(last)).targets(),
            users=stage.residents,
            spawn_rate=4,
            cut_every=6,
            directory=stage.state / "residents",
        )
        residents.start()
        try:
            residents.wait_ready(60)
            say(f"Act 2. The next release is promoted to {last} under their hands.")
            deploy(stage, release(folder, "0.2.0"))
            sites = sites_of(config, config.environment(last))
            before = shells(sites)
            console.print(f"\n[bold]$ rollout promote {first} --plan[/]")
            show_plan(stage, first)
            promote(stage)
            good = newest(stage, last)
            replaced = left_of(before, sites)
            if any(site.control("status")["manager"]["build"] != good["build"] for site in sites):
                raise DemoFailed(f"{last} has another session manager than that of {good['build']}")
            say("Its session manager came with it. Now that is killed, by SIGKILL.")
            killed = kill_managers(sites, before)
            for environment in stage.verified:
                # Among much else: every host runs the image, by id and content, that the ledger has.
                rollout(stage, "infra", environment)

            say("Act 3. A really bad release: it drops every session that an earlier build created,")
            say("just after attaching it. dev cannot see that: its checks use fresh sessions.")
            deploy(stage, release(folder, "0.3.0", HERE / "reconnection-loop.patch"))
            rollout(stage, "promote", first, "--wait", expect=EXIT_GATE_FAILED)
            bad = newest(stage, first)
        finally:
            say("The residents verify their shells to the last byte and leave.")
            summary = residents.stop()
    report = rollout(stage, "report", first)
    (stage.state / "report.md").write_text(report)
    console.print(report.partition("## Success criteria")[0], markup=False)
    console.print(f"(the whole report: {stage.state / 'report.md'})", markup=False)
    console.print(rollout(stage, "history"), markup=False)
    with Ledger(config.ledger_url) as ledger:
        ahead = ledger.rollout(bad["id"]).plan["forward"]
    turns = [step["hosts"] for step in ahead if step["kind"] == "install"]
    spared = [host for turn in turns[1:] for host in turn]
    spared += [host for name in stage.chain[1:] for host in config.environment(name).hosts]
    facts = [fact for name in stage.chain for fact in engine_of(config, config.environment(name)).facts()]
    seen = [fact.host for fact in facts if fact.host in spared and bad["build"] in fact.builds]
    with Ledger(config.ledger_url) as ledger:
        criteria = [result for _, result in ledger.verdicts(good["id"], "criteria")]
        good_loops, bad_loops = loops(ledger, good["id"]), loops(ledger, bad["id"])
    left = config.environment(last).after or ""
    seconds = time.monotonic() - started
    return Outcome(
        good, bad, left, criteria, summary, replaced, killed, seconds, spared, seen, good_loops, bad_loops
    )


def loops(ledger: Ledger, rollout: int) -> int:
    """The most reconnection loops that a gate saw in a rollout: the manager's count, or the load's.

    Whoever sees the first ends the bad build, often before the other has seen any.

    Raises:
        DemoFailed: no gate has looked for them.
    """
    counted = [
        result.measured
        for _, result in ledger.verdicts(rollout)
        if result.gate.split()[0].endswith(".loops") and result.measured is not None
    ]
    if not counted:
        raise DemoFailed(f"no gate of rollout {rollout} has counted reconnection loops")
    return int(max(counted))


def quietly(stage: Stage, *arguments: str) -> str:
    """The output of a rollout command."""
    return subprocess.run([*stage.rollout, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def verdict(outcome: Outcome, residents: int) -> list[tuple[str, object, bool]]:
    """What was promised, what was measured, and whether the one is the other."""
    good, bad, people = outcome.good["figures"], outcome.bad["figures"], outcome.residents
    lost = good["bytes_lost"] + bad["bytes_lost"] + people.lost
    doubled = good["bytes_doubled"] + bad["bytes_doubled"] + people.doubled
    twice = good["commands_twice"] + bad["commands_twice"] + people.twice
    verified = good["bytes_verified"] + bad["bytes_verified"] + people.verified
    met = sum(result.verdict is Verdict.PASS for result in outcome.criteria)
    return [
        (f"soak gates of {outcome.left} that the good build passed", f"{met} of {len(outcome.criteria)}",
         0 < met == len(outcome.criteria)),
        ("good build", outcome.good["state"], outcome.good["state"] == "promoted"),
        ("bad build", outcome.bad["state"], outcome.bad["state"] == "rolled-back"),
        ("sessions carried across the promotion", good["sessions_moved"], good["sessions_moved"] > residents),
        ("sessions carried across the rollback", bad["sessions_returned"], bad["sessions_returned"] > 0),
        (f"session manager replaced under {outcome.replaced.shells} live shells",
         f"{outcome.replaced.ended} ended, {people.lost} bytes lost, {people.doubled} doubled",
         outcome.replaced.shells >= residents
         and not (outcome.replaced.ended or people.lost or people.doubled)),
        (f"session manager killed (SIGKILL) under {outcome.killed.shells} live shells",
         f"{outcome.killed.ended} ended", outcome.killed.shells >= residents and not outcome.killed.ended),
        ("sessions severed", good["sessions_severed"] + bad["sessions_severed"],
         good["sessions_severed"] + bad["sessions_severed"] == 0),
        ("residents' shells still there at the end", f"{people.shells_kept} of {residents}",
         people.shells_kept == residents),
        ("bytes verified by the users themselves", verified, verified > 0),
        ("bytes lost", lost, lost == 0),
        ("bytes doubled", doubled, doubled == 0),
        ("commands run twice", twice, twice == 0),
        ("reconnection loops, good build", outcome.good_loops, outcome.good_loops == 0),
        ("reconnection loops, bad build", outcome.bad_loops, outcome.bad_loops > 0),
        *([("hosts that the bad build was kept from", f"{len(outcome.spared) - len(outcome.seen)}"
            f" of {len(outcome.spared)}", not outcome.seen)] if outcome.spared else []),
        ("time to promote the good build", f"{good['time_to_promote_s']:.1f} s", True),
        ("failed gate to all new connections on the old build", f"{bad['verdict_to_turned_s']:.2f} s", True),
        ("failed gate to the last session on the old build",
         f"{bad['verdict_to_rolled_back_s']:.2f} s", True),
        ("the whole demo", f"{outcome.seconds:.0f} s", True),
    ]  # fmt: skip


@click.command()
@click.option("--keep", is_flag=True, help="Leave it running, to look around.")
@click.option(
    "--engine",
    type=click.Choice(["process", "docker", "swarm"]),
    default="process",
    show_default=True,
    help="docker: on six hosts of a lab, over SSH; swarm: as nodes of a Swarm for each environment.",
)
def main(keep: bool, engine: str) -> None:
    """Promote a build under live terminals, then a bad one, and see it taken back."""
    played = choose_stage(engine)
    played.clean()
    try:
        played.prepare()
        rows = verdict(play(played), played.residents)
    except (DemoFailed, subprocess.CalledProcessError) as error:
        console.print(f"[bold red]demo: {error}[/]; logs are in {played.state}")
        sys.exit(1)
    table = Table("", "", "", box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value, good in rows:
        table.add_row("[green]✓[/]" if good else "[bold red]✗[/]", name, str(value))
    console.print()
    Console(width=max(console.width, 100)).print(table)  # nothing of it is to be wrapped
    if keep:
        last = played.chain[-1]
        console.print(f"\nget in with: {shlex.join([*played.rollout, 'open', last])}", markup=False)
    else:
        report = (played.state / "report.md").read_text()
        played.clean()
        played.state.mkdir(exist_ok=True)
        (played.state / "report.md").write_text(report)
    sys.exit(0 if all(good for _, _, good in rows) else 1)


if __name__ == "__main__":
    main()
