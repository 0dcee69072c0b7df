"""How long a promotion takes on 1, 3 and 6 hosts over SSH, and where the time goes; and a rollback.

Without load, checks and holds: what is left is the tool's own time. The hosts are a lab on this machine,
which share its processors: on machines of their own, hosts cost each other less.

    python -m benchmarks.promotion --hosts 1 --hosts 3 --hosts 6
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from demo.stages import BASE
from lab import hosts, image
from lab.model import Lab

ROOT = Path(__file__).resolve().parent.parent
SUBNET = ipaddress.IPv4Network("10.219.0.0/24")

console = Console(highlight=False, soft_wrap=True)


class Bench:
    """One environment on a lab, driven by the rollout command."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self._folder = folder
        environment = {
            "engine": "docker",
            "ssh_config": str(lab.ssh_config),
            "hosts": {
                host.name: {"root": "/srv/terminals/bench", "address": host.address} for host in lab.hosts
            },
            "listen": {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110},
            "gates": [{"metric": "generation.memory_bytes", "op": "<", "threshold": "1GB", "on": "checks"}],
        }
        config = {
            "version": 1,
            "project": "terminals",
            "source": str(ROOT / "services"),
            "state": "state",
            "image": {"base": BASE},
            "environments": {"bench": environment},
        }
        (folder / "rollout.yaml").write_text(json.dumps(config, indent=1))
        shutil.copy2(ROOT / "uv.lock", folder)

    def run(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "rollout", *arguments], cwd=self._folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def release(self, version: str) -> None:
        copy = self._folder / "source" / version
        shutil.copytree(ROOT / "services", copy, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / "pyproject.toml"
        path.write_text(re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', path.read_text(), count=1))
        self.run("build", "--source", str(copy))

    def steps(self) -> dict[str, float]:
        """Seconds of each step of the newest rollout, and ``total``."""
        command = [sys.executable, "-m", "rollout", "report", "bench", "--output", "json"]
        report: dict[str, Any] = json.loads(subprocess.check_output(command, cwd=self._folder))
        begun: dict[str, float] = {}
        took: dict[str, float] = {}
        for entry in report["timeline"]:
            if entry["phase"] == "begin":
                begun[entry["step"]] = entry["at"]
            elif entry["phase"] == "end":
                took[entry["step"]] = entry["at"] - begun[entry["step"]]
        return {**took, "total": report["rollout"]["ended"] - report["rollout"]["started"]}


def measure(count: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Steps of a first deployment, of the next release, and of a rollback within the window."""
    folder = Path(tempfile.mkdtemp(prefix="promotion-"))
    lab = Lab("rollout-bench", folder / "lab", SUBNET, (("dev", count),), "4G")
    if not image.present():
        image.make()
    hosts.up(lab)
    try:
        bench = Bench(folder, lab)
        bench.run("provision", "bench")
        bench.run("build")
        bench.run("deploy", "bench")
        first = bench.steps()
        bench.release("0.2.0")
        bench.run("deploy", "bench")
        second = bench.steps()
        bench.run("rollback", "bench")
        return first, second, bench.steps()
    finally:
        hosts.down(lab)
        shutil.rmtree(folder, ignore_errors=True)


@click.command()
@click.option(
    "--hosts", "counts", type=click.IntRange(1, 9), multiple=True, default=(1, 3, 6), show_default=True
)
def main(counts: tuple[int, ...]) -> None:
    """Measure promotions and rollbacks on labs of several sizes."""
    results = {count: measure(count) for count in counts}
    for place, title in enumerate(("first deployment", "next release", "rollback within the window")):
        table = Table(title, *(f"{count} host(s), s" for count in counts), box=None, padding=(0, 2, 0, 0))
        names = dict.fromkeys(name for count in counts for name in results[count][place])
        for name in names:
            table.add_row(name, *(f"{results[count][place].get(name, 0):.1f}" for count in counts))
        console.print(table)
        console.print()


if __name__ == "__main__":
    main()
