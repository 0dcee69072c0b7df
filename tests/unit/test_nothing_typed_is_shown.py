"""What people type and what shells print is in no ``repr``: loops and loggers write those into files."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import os
import pkgutil
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import terminals
from terminals.manager.peers import Peer
from terminals.manager.ring import Ring
from terminals.manager.session import Attachment

from tests.unit.manager.sessions import session_of, start

TYPED = b"correct-horse-battery-staple"
PUBLIC = {"Assets"}
"""Whose bytes are no terminal's."""
_BYTES = re.compile(r"\b(bytes|bytearray|memoryview)\b")


def types_of(kind: type) -> dict[str, str]:
    """Fields of a dataclass, a structure or a named tuple, and how their types are written."""
    if dataclasses.is_dataclass(kind):
        return {field.name: str(field.type) for field in dataclasses.fields(kind)}
    if issubclass(kind, msgspec.Struct):
        return {field.name: str(field.type) for field in msgspec.structs.fields(kind)}
    return {name: str(inspect.get_annotations(kind).get(name, "")) for name in getattr(kind, "_fields", ())}


def kinds_with_bytes() -> Iterator[type]:
    for module in pkgutil.walk_packages(terminals.__path__, "terminals."):
        if module.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            if not inspect.isclass(kind) or kind.__module__ != module.name:
                continue
            if kind.__name__ not in PUBLIC and any(_BYTES.search(text) for text in types_of(kind).values()):
                yield kind


def full_of(kind: type) -> Any:
    values = {name: TYPED if _BYTES.search(text) else None for name, text in types_of(kind).items()}
    if not dataclasses.is_dataclass(kind):
        return kind(**{name: value or "" for name, value in values.items()})
    made = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def test_there_are_such_classes():
    assert {kind.__name__ for kind in kinds_with_bytes()} >= {"Binary", "Hot", "Conn", "Handoff", "Answer"}


@pytest.mark.parametrize(
    "kind", list(kinds_with_bytes()), ids=lambda kind: f"{kind.__module__}.{kind.__name__}"
)
def test_a_class_that_carries_bytes_does_not_show_them(kind):
    shown = repr(full_of(kind))
    assert TYPED.decode() not in shown
    assert kind.__name__ in shown


def test_a_session_shows_neither_what_waits_for_its_shell_nor_what_it_has_printed(tmp_path):
    async def main() -> None:
        master, slave = os.openpty()
        os.set_blocking(master, False)
        process = subprocess.Popen(["cat"], stdin=slave, stdout=slave)  # noqa: ASYNC220
        os.close(slave)
        session = session_of(Ring.create(tmp_path / "a.ring", 1 << 16))
        start(session, process, master)
        session.attach(Attachment(1, "c", Peer(), os.eventfd(0, os.EFD_NONBLOCK), 0.0), 0)
        process.send_signal(signal.SIGSTOP)  # what does not fit into its terminal waits
        session.input("c", 0, (TYPED + b"\n") * 5000)
        async with asyncio.timeout(10):
            while TYPED not in bytes(session.ring._data[:4096]):  # noqa: ASYNC110 - nothing tells it but the ring
                await asyncio.sleep(0.001)
        assert session.inputs.waiting
        for shown in (session, session._write, session.inputs, session.attachment, session.ring):
            assert TYPED.decode() not in repr(shown)
        process.kill()
        async with asyncio.timeout(10):
            while session.live:  # noqa: ASYNC110 - the session tells the registry only
                await asyncio.sleep(0.001)
        session.discard()

    asyncio.run(main())
