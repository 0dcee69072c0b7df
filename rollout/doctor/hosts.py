"""The hosts of an environment: asked once each, by one script, over the connection that everything uses."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rollout.config import Config, Environment
from rollout.direct.reach import on_each
from rollout.direct.sites import Site, sites_of
from rollout.doctor.finding import Finding
from rollout.doctor.local import examine_host
from rollout.errors import RolloutError

OLDEST_ENGINE = (20, 10)
LITTLE_BYTES = 2_000_000_000
CLOCK_SECONDS = 2.0
# One script, since each command by its own would take a second for a host that is far away.
_SCRIPT = r"""
say() { echo "$1=$(printf %%s "$2" | tr '\n' ' ')"; }
at=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null || echo /)
for root in %(root)s %(directory)s; do [ -d $root ] && break; done
say groups "$(id -nG)"
say uid "$(id -u)"
say docker "$(command -v docker)"
say engine "$(docker version --format '{{.Server.Version}}' 2>&1)"
say live "$(docker info --format '{{.LiveRestoreEnabled}}' 2>/dev/null)"
say swarm "$(docker info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null)"
say compose "$(docker compose version --short 2>/dev/null)"
say root "$([ -d $root ] && { [ -w $root ] && echo writable || echo closed; })"
say disk "$(df --output=avail -B1 "$at" 2>/dev/null | tail -n 1)"
say listening "$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
  awk '$4 == "0A" { split($2, part, ":"); print part[2] }')"
say ours "$(docker port %(holder)s 2>/dev/null; docker port %(manager)s 2>/dev/null)"
say manager "$(docker exec %(manager)s terminals ctl status 2>/dev/null)"
say hosts "$(docker exec %(manager)s terminals ctl hosts 2>/dev/null)"
say token "$(docker exec %(manager)s stat -c %%Y /run/terminals/token 2>/dev/null)"
say mark "$(cat %(root)s/broken-glass.json 2>/dev/null)"
"""


def examine_hosts(config: Config, environment: Environment) -> list[Finding]:
    """Look at every host at the same time. Changes nothing."""
    sites = {site.name: site for site in sites_of(config, environment)}
    try:
        found = on_each(sites, lambda name: list(_examine(sites[name], environment)))
    finally:
        for site in sites.values():
            site.reach.close()
    findings: list[Finding] = []
    for name, result in found.items():
        if isinstance(result, RolloutError):
            findings.append(Finding("wrong", name, "host", str(result), "see above"))
        else:
            findings += result
    for name in environment.absent:
        remedy = f"when it is back, take lost: true away, then: rollout apply {environment.name}"
        findings.append(Finding("warning", name, "host", "stated to be lost; nothing was looked at", remedy))
    return findings


def _examine(site: Site, environment: Environment) -> Iterator[Finding]:
    if not site.docker:
        yield from _processes(site)
        return
    try:
        site.reach.run(["true"])
    except RolloutError as error:
        text, _, remedy = error.message.removeprefix(f"{site.name}: ").partition("; ")
        if remedy in ("", "look at: rollout doctor"):
            name = environment.hosts[site.name].ssh or site.name
            remedy = f"see that it runs, and that this works: ssh {name} true"
        yield Finding("wrong", site.name, "SSH", text, remedy)
        return
    yield Finding("ok", site.name, "SSH", "reachable, its host key is known, let in without a password")
    directory = environment.hosts[site.name].directory
    names = {
        "root": shlex.quote(str(site.root)),
        "directory": shlex.quote(str(directory)),
        "manager": f"{site.project}-manager-1",
        "holder": f"{site.project}-holder-1",
    }
    yield _clock(site)
    answer = site.reach.run(["sh", "-c", _SCRIPT % names])
    facts = dict(line.partition("=")[::2] for line in answer.output.splitlines() if "=" in line)
    facts = {key: value.strip() for key, value in facts.items()}
    yield from _engine(site.name, facts, environment)
    yield from _room(site, directory, facts)
    yield from _ports(site, facts)
    yield from _services(site.name, facts)


def _clock(site: Site) -> Finding:
    before = time.time()
    there = float(site.ask("date", "+%s.%N"))
    after = time.time()
    off = max(before - there, there - after, 0.0)
    if off > CLOCK_SECONDS:
        remedy = "set its clock by the network: apt-get install systemd-timesyncd, or chrony"
        return Finding("warning", site.name, "clock", f"{off:.0f} s away from this machine's", remedy)
    return Finding("ok", site.name, "clock", f"within {off + after - before:.1f} s of this machine's")


def _engine(host: str, facts: dict[str, str], environment: Environment) -> Iterator[Finding]:
    if not facts["docker"]:
        yield Finding("wrong", host, "Docker engine", "there is none", "apt-get install docker.io")
        return
    version = re.match(r"(\d+)\.(\d+)", facts["engine"])
    if version is None:
        if facts["uid"] != "0" and "docker" not in facts["groups"].split():
            remedy = "as root there: usermod -aG docker USER, then log in anew"
            yield Finding("wrong", host, "docker group", f"not in it, but in {facts['groups']}", remedy)
        else:
            remedy = "start it there: service docker start; its log says why it does not stay"
            yield Finding("wrong", host, "Docker engine", facts["engine"][:150], remedy)
        return
    if (int(version[1]), int(version[2])) < OLDEST_ENGINE:
        yield Finding("wrong", host, "Docker engine", facts["engine"], "upgrade it to 20.10 or newer")
    else:
        yield Finding("ok", host, "Docker engine", facts["engine"])
    if environment.engine == "swarm":
        yield from _node(host, facts, environment.name)
    elif not facts["live"].startswith("true"):
        remedy = (
            '"live-restore": true in /etc/docker/daemon.json: sessions then outlive a restart of the engine'
        )
        yield Finding("warning", host, "live-restore", "off", remedy)
    else:
        yield Finding("ok", host, "live-restore", "on")
    if not facts["compose"]:
        remedy = "apt-get install docker-compose-plugin, or put docker-compose into ~/.docker/cli-plugins"
        yield Finding("wrong", host, "Compose plugin", "docker compose does not work there", remedy)
    else:
        yield Finding("ok", host, "Compose plugin", facts["compose"])


def _node(host: str, facts: dict[str, str], environment: str) -> Iterator[Finding]:
    if facts["swarm"] != "active":
        remedy = f"rollout provision {environment}"
        yield Finding("wrong", host, "Swarm", facts["swarm"] or "not known", remedy)
    else:
        text = "a node; a restart of its engine ends the shells there: rollout drain comes before it"
        yield Finding("ok", host, "Swarm", text)


def _room(site: Site, directory: Path, facts: dict[str, str]) -> Iterator[Finding]:
    if facts["root"] != "writable":
        text = f"{site.root} cannot be made" if not facts["root"] else f"{site.root} may not be written"
        remedy = f"as root there: install -d -o USER {directory}"
        yield Finding("wrong", site.name, "directory", text, remedy)
    else:
        yield Finding("ok", site.name, "directory", f"{site.root} may be written")
    if not facts["disk"].isdigit():
        text = "how much is free for the engine is not known"
        yield Finding("warning", site.name, "disk", text, "look there: df, docker system df")
        return
    free = int(facts["disk"])
    if free < LITTLE_BYTES:
        remedy = "make room there: docker system df, docker image prune"
        verdict = "wrong" if free < LITTLE_BYTES / 10 else "warning"
        yield Finding(verdict, site.name, "disk", f"{free / 1e9:.1f} GB free for the engine", remedy)  # type: ignore[arg-type]
    else:
        yield Finding("ok", site.name, "disk", f"{free / 1e9:.1f} GB free for the engine")


def _ports(site: Site, facts: dict[str, str]) -> Iterator[Finding]:
    taken = {int(port, 16) for port in facts["listening"].split()}
    ours = {int(port) for port in re.findall(r":(\d+)(?: |$)", facts["ours"])}
    listen = site.listen
    for port in filter(None, (listen.system, listen.claude, listen.web, listen.peers)):
        if port in taken and port not in ours:
            remedy = f"see who listens there (ss -ltnp 'sport = :{port}'), or set listen in rollout.yaml"
            yield Finding("wrong", site.name, f"port {port}", "somebody else listens on it", remedy)
        else:
            yield Finding("ok", site.name, f"port {port}", "ours" if port in ours else "free")


def _services(host: str, facts: dict[str, str]) -> Iterator[Finding]:
    if facts["mark"]:
        yield Finding(
            "warning", host, "glass", "was broken, and the ledger does not know", "rollout adopt ENV"
        )
    try:
        status: dict[str, Any] = json.loads(facts["manager"])
    except ValueError:
        text = "does not answer" if facts["ours"] else "none runs"
        remedy = "rollout logs ENV says why" if facts["ours"] else "deploy or promote a build"
        yield Finding("warning", host, "session manager", text, remedy)
        return
    serving = [f"{entry['name']}={entry['weight']}" for entry in status["generations"] if entry["weight"]]
    live = status["sessions"]["live"]
    yield Finding(
        "ok",
        host,
        "session manager",
        f"answers; {' '.join(serving) or 'nobody'} serves, {live} live sessions",
    )
    for entry in status["generations"]:
        if entry["weight"] and not entry["workers"]:
            remedy = "rollout logs ENV says why; rollout rollback ENV goes back"
            yield Finding("wrong", host, f"generation {entry['name']}", "has traffic, but no worker", remedy)
    yield from _others(host, facts["hosts"])
    if facts["token"].isdigit():
        at = time.strftime("%Y-%m-%d", time.gmtime(int(facts["token"])))
        yield Finding("ok", host, "token", f"of {at}")


def _others(host: str, said: str) -> Iterator[Finding]:
    """Whether a host hears those that it knows of. A session manager of an earlier build knows of none."""
    try:
        known: dict[str, Any] = json.loads(said)
        own, *others = known["items"]
    except (ValueError, KeyError, TypeError):
        return
    if own["state"] != "ready":
        remedy = f"sessions begin there again by: rollout undrain {host}"
        yield Finding("warning", host, "new sessions", known["closed"], remedy)
    elif known["closed"]:
        yield Finding("wrong", host, "other hosts", known["closed"], "give each host a tag of its own: hosts")
    heard = [entry["name"] for entry in others if entry["standing"] == "there"]
    if heard:
        yield Finding("ok", host, "other hosts", f"hears {', '.join(heard)}")
    for entry in others:
        if entry["standing"] in ("silent", "lost"):
            since = f" for {entry['silent']:.0f} s" if entry.get("silent") is not None else ""
            remedy = (
                "see that its port peers is open to this host; certificates are made by: rollout certify ENV"
            )
            yield Finding("wrong", host, f"host {entry['name']}", f"is not heard{since}", remedy)


def _processes(site: Site) -> Iterator[Finding]:
    try:
        status = site.control("status")
    except RolloutError as error:
        yield from examine_host(site.name, site.root, site.listen)
        absent = error.message.endswith("not found")  # not even its program is there
        text = "none runs: nothing is deployed" if absent else error.message[:150]
        remedy = "deploy or promote a build" if absent else "rollout logs ENV says why"
        yield Finding("warning", site.name, "session manager", text, remedy)
        return
    yield from examine_host(site.name, site.root, site.listen, status["listeners"].values())
    yield Finding("ok", site.name, "session manager", f"answers; {status['sessions']['live']} live sessions")
    if site.mark() is not None:
        yield Finding(
            "warning", site.name, "glass", "was broken, and the ledger does not know", "rollout adopt ENV"
        )
