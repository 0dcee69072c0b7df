"""What runs where: from the plan and the configuration, with a drawing in text. Pure."""

from __future__ import annotations

from typing import Any

from rollout.ledger import State
from rollout.report.judged import replaced_by
from rollout.report.material import Material
from rollout.report.text import clean, moment
from rollout.units import count, duration

DRAWN_HOSTS = 12


def components(material: Material) -> dict[str, Any]:
    """Engine, hosts, ports, profiles and generations."""
    environment = material.environment
    hosts = []
    for turn, names in enumerate(_turns(material), 1):
        for name in names:
            host, listen = environment.hosts[name], environment.listens(name)
            hosts.append(
                {
                    "host": name,
                    "root": str(host.root),
                    "ssh": host.ssh,
                    "address": environment.address(name),
                    "ports": {"system": listen.system, "claude": listen.claude, "web": listen.web},
                    "tls": listen.tls is not None,
                    "turn": turn,
                }
            )
    found: dict[str, Any] = {
        "engine": environment.engine,
        "workers": environment.workers,
        "hosts": hosts,
        "profiles": {name: " ".join(profile.command) for name, profile in environment.profiles.items()},
        "generations": _generations(material),
        "monitor": environment.monitor is not None,
    }
    found["diagram"] = _diagram(found, material)
    return found


def _turns(material: Material) -> list[list[str]]:
    """The hosts as a new build came to them: who was busiest then is known to the plan alone. Else, all at
    once; hosts that came later are with the last."""
    known, record = material.environment.hosts, material.record
    steps = record.plan.get("forward", ()) if record.kind in ("deploy", "promote") else ()
    turns = [[name for name in step["hosts"] if name in known] for step in steps if step["kind"] == "install"]
    turns = turns or [[]]
    turns[-1] += [name for name in known if not any(name in turn for turn in turns)]
    return [turn for turn in turns if turn]


def _generations(material: Material) -> list[dict[str, Any]]:
    record = material.record
    rows = [
        {
            "generation": record.generation,
            "build": record.build,
            "digest": record.digest,
            "state": _state(material),
            "on_trial": True,
        }
    ]
    if record.previous_generation:
        rows.append(
            {
                "generation": record.previous_generation,
                "build": record.previous_build or "",
                "digest": "",
                "state": _before(material),
                "on_trial": False,
            }
        )
    return rows


def _state(material: Material) -> str:
    successor = replaced_by(material)
    match material.record.state:
        case State.PROMOTED if successor is not None:
            return f"in charge from {moment(material.record.ended)} to {moment(successor.ended)}"
        case State.PROMOTED:
            return f"in charge, 100 % of traffic, since {moment(material.record.ended)}"
        case State.ROLLED_BACK | State.REHEARSED:
            return "stopped, no traffic"
        case State.RUNNING:
            return "on trial"
        case State.APPLIED:
            return "in charge before and after"
        case _:
            return "being taken back"


def _before(material: Material) -> str:
    record = material.record
    if record.state in (State.ROLLED_BACK, State.REHEARSED):
        return "in charge again, 100 % of traffic"
    if record.state is not State.PROMOTED or record.ended is None:
        return "there to go back to"
    kept = warm_seconds(material)
    left = record.ended + kept - material.now
    if replaced_by(material) is not None or left <= 0:
        return f"was kept warm for {duration(kept)}"
    return f"warm until {moment(record.ended + kept)}"


def warm_seconds(material: Material) -> float:
    """How long the plan keeps the generation before this one."""
    for step in material.record.plan.get("forward", ()):
        if step.get("kind") == "finish":
            return float(step.get("after", step.get("params", {}).get("after", 0.0)))
    return material.environment.rollback_window


def _diagram(found: dict[str, Any], material: Material) -> str:
    """Hosts, their session managers, and the generations behind them."""
    lines = ["browsers, clients, load users"]
    hosts = found["hosts"][:DRAWN_HOSTS]
    more = len(found["hosts"]) - len(hosts)
    for index, host in enumerate(hosts):
        last = index == len(hosts) - 1 and not more
        stem, rail = ("└─", "  ") if last else ("├─", "│ ")
        ports = "  ".join(f":{port} {name}" for name, port in host["ports"].items())
        lines.append(f"{stem}► {host['host']} ({host['address']})  {ports}{'  TLS' if host['tls'] else ''}")
        lines.append(f"{rail}   └─ holder: ports and shells, whatever manager and generation serve them")
        rows = list(found["generations"])
        watching = found["monitor"]
        for place, row in enumerate(rows):
            end = place == len(rows) - 1 and not watching
            lines.append(
                f"{rail}      {'└─' if end else '├─'} {clean(row['generation'])}: {clean(row['build'])},"
                f" {count(found['workers'], 'worker')} and web; {row['state']}"
            )
        if watching:
            monitor = material.environment.monitor
            every = duration(monitor.every) if monitor else ""
            lines.append(f"{rail}      └─ monitor: one check every {every}")
    if more:
        lines.append(f"└─► and {count(more, 'host')} more like these")
    return "\n".join(lines)
