"""Running load alone, outside a rollout, and judging it by the environment's load gates."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.text import Text

from rollout.checks.load import LoadRun
from rollout.config import Config, Load
from rollout.errors import ChecksFailed
from rollout.evidence import from_load, from_parts
from rollout.gates import deciding, evaluate_all
from rollout.model import Verdict
from rollout.pipeline.begin import engine_of
from rollout.units import duration


def run(
    config: Config, name: str, users: int | None, seconds: float, cut_every: float | None
) -> tuple[dict[str, Any], Callable[[], None], list[RenderableType]]:
    """Run load for ``seconds``; returns the data, a function that raises unless all passed, and the text.

    Raises:
        EngineError: nothing is deployed there, or the users could not get in.
    """
    environment = config.environment(name)
    settings = environment.load or Load(users=20)
    started = time.time()
    load = LoadRun(
        engine_of(config, environment).targets(),
        users=users or settings.users,
        spawn_rate=settings.spawn_rate,
        cut_every=cut_every or settings.cut_every,
        processes=settings.processes,
        directory=config.state / "runs" / name / f"loadtest-{time.time_ns()}",
    )
    with Console(stderr=True).status("users take up work") as status:
        load.start()
        try:
            load.wait_ready(90)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if not load.running:
                    left = end - time.monotonic()
                    raise ChecksFailed(
                        f"loadtest on {name}: the load has ended by itself {duration(left)} before its time,"
                        f" with {load.summary().verified} bytes verified; see {load.log}"
                    )
                now = load.summary()
                status.update(
                    f"{load.users} users, {now.commands} commands, {now.reconnections} reconnections,"
                    f" {now.verified} bytes verified; {duration(max(0.0, end - time.monotonic()))} left"
                )
                time.sleep(0.5)
        finally:
            status.update("users finish and verify")
            summary = load.stop()
    gates = [
        gate.model_copy(update={"window": None})  # the whole run is one window
        for gate in environment.gates
        if gate.metric.startswith("load.") and gate.compare != "baseline"
    ]
    ended = time.time()
    window = (started, ended)
    evidence = from_load(summary, summary, window, "all")
    ways: tuple[Literal["host", "region"], ...] = ("host", "region")
    for by in ways:
        evidence += from_parts(load, by, environment.parts(by, environment.hosts), window, None)
    results = evaluate_all(gates, evidence, ended)
    data = {
        "users": summary.users,
        "commands": summary.commands,
        "reconnections": summary.reconnections,
        "kept": summary.kept,
        "loops": summary.loops,
        "verified_bytes": summary.verified,
        "bytes_lost": summary.lost,
        "bytes_doubled": summary.doubled,
        "commands_twice": summary.twice,
        "shells_kept": summary.shells_kept,
        "shells_lost": summary.shells_lost,
        "errors": summary.errors[:10],
        "gates": [{"gate": r.gate, "verdict": r.verdict.value, "reason": r.reason} for r in results],
    }
    lines: list[RenderableType] = [
        f"{name.replace('_', ' ')}: {value}"
        for name, value in data.items()
        if name not in ("gates", "errors")
    ]
    styles = {Verdict.PASS: "green", Verdict.INCONCLUSIVE: "yellow"}
    for result in results:
        style = styles.get(result.verdict, "bold red")
        lines.append(Text.assemble((f"{result.verdict:<12} ", style), result.reason))

    def verdicts() -> None:
        bad = [result for result in deciding(results) if result.verdict is not Verdict.PASS]
        wrong = summary.lost or summary.doubled or summary.twice or summary.loops or not summary.verified
        if missing := summary.unfinished:
            raise ChecksFailed(
                f"loadtest on {name}: {missing} of {summary.users} users did not verify their shells to the"
                f" end; see {load.log}"
            )
        if summary.shells_lost:
            raise ChecksFailed(f"loadtest on {name}: {summary.shells_lost} shells were lost; see {load.log}")
        if bad:
            raise ChecksFailed(f"loadtest on {name}, {bad[0].verdict}: {bad[0].reason}")
        if wrong:
            raise ChecksFailed(
                f"loadtest on {name}: {summary.lost} bytes lost, {summary.doubled} doubled,"
                f" {summary.twice} commands run twice, {summary.loops} loops, {summary.verified} verified"
            )

    return data, verdicts, lines
