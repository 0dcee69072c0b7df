"""``rollout ledger``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import output_option, read_config, show
from rollout.errors import ChecksFailed


@click.group("ledger")
def command() -> None:
    """Verify that nobody has changed the ledger since it was written.

    \b
    Example:
      rollout ledger head
      rollout ledger verify
      rollout ledger verify --head HASH
    """


@command.command("verify")
@click.option("--head", "anchor", metavar="HASH", help="What `rollout ledger head` or a report once said.")
@output_option
@click.pass_context
def verify(context: click.Context, anchor: str | None, output: str) -> None:
    """Recompute the hash chain and every row, and place what is not as it was written.

    Exit code 9 when something is wrong. Entries that were cut off at the end are found with `--head`
    only: give it a hash that was kept outside the ledger.

    \b
    Example:
      rollout ledger verify --head 6d9f0c...
    """
    from rich.text import Text

    from rollout.ledger import Ledger

    with Ledger(read_config(context).ledger_url) as ledger:
        found = ledger.verify(anchor)
    rows = sum(found.rows.values())
    lines = [str(flaw) for flaw in found.flaws] or [
        f"whole: {found.entries} entries ({found.imported} imported) for {rows} rows",
        f"head {found.seq} {found.head}",
    ]
    show(output, asdict(found), lambda: [Text(line) for line in lines])
    if found.flaws:
        count = len(found.flaws)
        raise ChecksFailed(f"ledger: {count} not as it was written, the first: {found.flaws[0]}")


@command.command("head")
@output_option
@click.pass_context
def head(context: click.Context, output: str) -> None:
    """Number and hash of the last entry: to be kept outside the ledger, for `verify --head`.

    \b
    Example:
      rollout ledger head
    """
    from rollout.ledger import Ledger

    with Ledger(read_config(context).ledger_url) as ledger:
        seq, hash_ = ledger.head()
    show(output, {"seq": seq, "hash": hash_}, lambda: f"{seq} {hash_}")
