"""What the doctor says."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """``where`` is a host, or "" for the control machine; ``remedy`` is empty when it is ok."""

    verdict: Literal["ok", "warning", "wrong"]
    where: str
    subject: str
    text: str
    remedy: str = ""
