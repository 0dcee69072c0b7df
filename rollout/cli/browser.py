"""The page of an environment in the browser of whoever sits there."""

from __future__ import annotations

import html
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from terminals import tickets
from terminals.tickets import Ticket

from rollout.checks.runner import Target
from rollout.errors import ConfigError

LINK_SECONDS: Final = 300


def page(target: Target, at: str | None = None) -> str:
    """The link of a host's page, good to come in with for five minutes, as somebody who may do everything.
    ``at``: the address of a page of all hosts, in place of the host's own.

    The ticket is in its fragment, which no browser sends anywhere; the page takes it out of the address bar.
    """
    ticket = tickets.issue(target.token.encode(), Ticket("", role="operator"), seconds=LINK_SECONDS)
    return f"{(at or target.web).rstrip('/')}/#ticket={ticket}"


def hand_out(links: Sequence[str], path: Path, *, browser: bool) -> None:
    """Print links and, with ``browser`` and on a desktop, open the first, by way of ``path``.

    Raises:
        ConfigError: as :func:`open_page`.
    """
    click.echo("\n".join(links))
    if browser and desktop():
        open_page(links[0], path)


def desktop() -> bool:
    """Whether a browser would come up where somebody sees it."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def open_page(link: str, path: Path) -> None:
    """Have the browser open ``link`` by way of a file that nobody else may read: others see its command line.

    Raises:
        ConfigError: the file cannot be written.
    """
    there = html.escape(link)
    text = (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">\n'
        f'<meta http-equiv="refresh" content="0;url={there}">\n<a href="{there}">Go on to the page</a>\n'
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # whose mode may be another
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; open the link by hand, or use --no-browser") from None
    webbrowser.open(path.absolute().as_uri())
