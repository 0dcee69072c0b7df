"""What ``rollout logs`` and ``rollout exec`` share: the hosts, printing their lines, and ending well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from rollout.config import Config
from rollout.direct.logs import Say
from rollout.direct.reach import Printer
from rollout.direct.sites import Site, sites_of


@contextmanager
def at_sites(config: Config, environment: str, hosts: Sequence[str]) -> Iterator[tuple[list[Site], Say]]:
    """The hosts, and a function that prints a line of one of them. Ends what runs there on leaving."""
    sites = sites_of(config, config.environment(environment), hosts)
    printer = Printer([site.name for site in sites], click.echo)
    try:
        yield sites, printer.line
    finally:
        for site in sites:
            site.reach.close()
