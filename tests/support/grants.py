"""What a client is told of an attachment, where it does not matter what."""

from __future__ import annotations

from terminals.protocol.server import Grant

GRANT = Grant(
    session="s",
    status="created",
    epoch="e",
    output=0,
    head=0,
    skipped=0,
    input=0,
    origin="g",
    mode="write",
    generation="g",
    build="b",
    profile="system",
)
