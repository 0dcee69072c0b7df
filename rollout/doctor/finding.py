"""What the doctor says."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """``where`` is a host, or "" for the control machine; ``remedy`` is empty when it is ok."""

    verdict: Literal["ok", "warning", "wrong"]
    where: str
    subject: str
    text: str
    remedy: str = ""


def open_to_others(subject: str, path: Path) -> Finding | None:
    """That a secret is not its owner's alone.

    Raises:
        OSError: it is not there.
    """
    mode = path.stat().st_mode
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    text = f"{path} is open to others: {stat.filemode(mode)}"
    return Finding("wrong", "", subject, text, f"chmod go= {path}")
