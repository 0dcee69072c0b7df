"""The holder: what it says of itself, and how it is made to go on as another build."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from terminals.control import packets
from terminals.control.answers import HolderStatus
from terminals.control.asking import ask, tell
from terminals.control.starting import command, program
from terminals.parts import own_code

SECONDS: Final = 60.0
"""That another build of it may take until it answers; it is tried first."""


class NotRenewed(Exception):
    """The holder is what it was, or has lost something. The text says which."""


def status_of(path: str, timeout: float = 10.0) -> HolderStatus:
    """What the holder at ``path`` says of itself.

    Raises:
        ControlError: none does.
    """
    return ask(path, packets.Status(), HolderStatus, timeout=timeout)


def renew(path: str, build: str, fence: int | None = None) -> HolderStatus:
    """Have the holder beside the manager at ``path`` go on as the one of this installation; all is kept.

    Its program is copied to where the holder can read it, be it in another container. Returns what the
    holder says of itself.

    Raises:
        ControlError: the manager refuses, or the holder cannot go on as this one; it is what it was.
        NotRenewed: it is another one now, and does not have what it had.
    """
    code = own_code("holder")
    holder = str(Path(path).with_name("holder.sock"))
    before = status_of(holder)
    if before.code != code:
        folder = _brought(Path(path).parent, code)
        # One of an earlier build does not say by what it is run.
        argv = command(before.python or sys.executable, folder)
        tell(path, packets.RenewHolder(argv=argv, build=build, fence=fence), timeout=SECONDS)
    after = status_of(holder)
    if after.code != code:
        raise NotRenewed(f"the holder is of code {after.code}, not {code}")
    if after.pid != before.pid:
        raise NotRenewed("the holder was started anew, with nothing of what the one before has kept")
    return after


def _brought(folder: Path, code: str) -> Path:
    """A copy of the holder's program below ``folder``, whole or not there; gives where it is run from."""
    kept = folder / f"holder-{code}"
    source = program().parent
    if not kept.exists():
        new = Path(tempfile.mkdtemp(prefix=".holder-", dir=folder))
        try:
            package = new / source.name
            package.mkdir()
            shutil.copy(source / "__init__.py", package)
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(program(), package / program().name, ignore=ignored)
            new.rename(kept)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    for other in folder.glob("holder-*"):
        if other.is_dir() and other != kept:
            shutil.rmtree(other, ignore_errors=True)  # a running one has read its own
    return kept / source.name / program().name
