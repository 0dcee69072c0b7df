"""``python -m lab``: hosts to deploy to, on this machine, and gone again when they are not needed."""

from __future__ import annotations

import ipaddress
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lab import hosts, image
from lab.engine import require_engine
from lab.model import ENVIRONMENTS, MOST_HOSTS, Lab
from rollout.errors import ExitCode, RolloutError

STATE = Path(".rollout", "lab")

console = Console(highlight=False, soft_wrap=True)
number = click.IntRange(0, MOST_HOSTS)
state_option = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=STATE,
    show_default=True,
    help="The lab's folder: keys, ssh_config, inventory.",
)


@click.group()
def cli() -> None:
    """Real hosts to deploy to: containers with sshd and their own Docker engine."""


@cli.command()
@click.option("--dev", type=number, default=1, show_default=True, help="Hosts of dev.")
@click.option("--staging", type=number, default=2, show_default=True, help="Hosts of staging.")
@click.option("--production", type=number, default=3, show_default=True, help="Hosts of production.")
@click.option(
    "--name", default="rollout-lab", show_default=True, help="Prefix of all that it makes in Docker."
)
@click.option("--subnet", default="10.213.0.0/24", show_default=True, help="Addresses of the hosts, a /24.")
@click.option(
    "--disk", default="8G", show_default=True, help="Size of a new host's disk; takes what is used."
)
@state_option
def up(name: str, subnet: str, disk: str, state: Path, **counts: int) -> None:
    """Bring the hosts up, or change how many there are."""
    started = time.monotonic()
    lab = Lab(name, state.resolve(), _subnet(subnet), tuple(counts.items()), disk)
    if not lab.hosts:
        raise click.UsageError("a lab of no hosts; `python -m lab down` takes one away")
    require_engine()
    if not image.present():
        with console.status("making the hosts' image, once: under a minute"):
            image.make()
    with console.status(f"starting {len(lab.hosts)} hosts"):
        hosts.up(lab)
    _table(lab)
    folder = _shown(lab.state)
    console.print(f"\n{len(lab.hosts)} hosts in {time.monotonic() - started:.0f} s. Now, for example:")
    console.print(f"  ssh -F {folder}/ssh_config {lab.hosts[-1].name}")
    console.print(f"  .venv/bin/ansible -i {folder}/inventory.yml all -m ping")
    console.print(f"  python -m lab down{'' if state == STATE else f' --state {folder}'}")


@cli.command()
@click.option("--all", "everything", is_flag=True, help="The image and the keys too.")
@state_option
def down(everything: bool, state: Path) -> None:
    """Take the hosts away, with all that is on them."""
    lab = Lab.load(state)
    require_engine()
    hosts.down(lab)
    if everything:
        hosts.erase(lab)


@cli.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@state_option
def status(output: str, state: Path) -> None:
    """How every host is. Ends with 8 if one does not answer."""
    lab = Lab.load(state)
    require_engine()
    if not _table(lab, output=output):
        sys.exit(ExitCode.ENGINE)


def _table(lab: Lab, output: str = "table") -> bool:
    """Print how the hosts are, and return whether all are well."""
    found = hosts.status(lab)
    if output == "json":
        click.echo(
            json.dumps(
                [{**asdict(entry), "host": entry.host.name, "address": entry.host.address} for entry in found]
            )
        )
    else:
        table = Table(
            "host", "address", "container", "engine", "runs", "memory", box=None, padding=(0, 2, 0, 0)
        )
        for entry in found:
            table.add_row(
                entry.host.name,
                entry.host.address,
                entry.container,
                entry.engine or f"[red]{entry.trouble}[/]",
                str(entry.containers),
                f"{entry.memory_mb} MB",
            )
        console.print(table)
    return all(entry.engine for entry in found)


def _subnet(text: str) -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--subnet") from None
    if subnet.num_addresses < 10 * (len(ENVIRONMENTS) + 1):
        raise click.BadParameter(f"{text} has too few addresses; a /24 does", param_hint="--subnet")
    return subnet


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> None:
    """Run, and turn what a person can understand into one line and its exit code."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "lab: interrupted; `python -m lab up` goes on, `python -m lab down` takes it away", err=True
        )
        sys.exit(ExitCode.INTERRUPTED)
    except RolloutError as error:
        click.echo(f"lab: {error.message}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
