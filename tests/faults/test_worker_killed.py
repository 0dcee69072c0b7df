"""SIGKILL of the process that serves a terminal loses nothing."""

from __future__ import annotations

import hashlib
import random

import pytest
from terminals.protocol.backoff import Backoff

from tests.support.stack import Stack, until

MEGABYTE = 1 << 20


@pytest.fixture
def material(tmp_path):
    """100 MB without a pattern, in characters that a terminal passes through unchanged."""
    path = tmp_path / "material"
    block = random.Random(1).randbytes(MEGABYTE).hex().encode()
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for index in range(50):
            piece = b"%08d" % index + block[8:]
            digest.update(piece)
            file.write(piece)
    return path, path.stat().st_size, digest.hexdigest()


def test_100_megabytes_arrive_whole_and_in_order_though_the_worker_is_killed(calm_stack: Stack, material):
    path, size, checksum = material
    terminal = calm_stack.terminal(backoff=Backoff(base=0.01, cap=0.1), stable_after=0)
    terminal.open()
    terminal.send(b"PS1=; stty -echo -opost; echo ready-$((1+1))\n")
    terminal.expect(rb"ready-2\r?\n")
    terminal.send(f"cat {path}; echo; echo end\n".encode())
    digest, got, kills = hashlib.sha256(), 0, 0
    while got < size:
        data = terminal.read(20.0)
        assert data, f"nothing more after {got} of {size} bytes"
        digest.update(data[: size - got])
        got += len(data)
        if kills < 5 and got > size * (kills + 1) // 7:
            kills += 1
            calm_stack.kill("worker-g1")
            calm_stack.start("worker", "g1")
    assert digest.hexdigest() == checksum
    assert terminal.stats.skipped == 0
    assert terminal.stats.reconnects >= 5


def test_keystrokes_typed_while_workers_die_arrive_once_each(calm_stack: Stack):
    terminal = calm_stack.terminal(backoff=Backoff(base=0.01, cap=0.05), stable_after=0)
    terminal.open()
    terminal.send(b'PS1=; stty -echo; n=0; r() { n=$((n+1)); echo "<$1:$n>"; }; echo ready-$((1+1))\n')
    terminal.expect(rb"ready-2\r\n")
    calm_stack.start("worker", "g1", name="spare")
    until(lambda: calm_stack.generation("g1")["workers"] == 2, "two workers")
    names = ["worker-g1", "spare"]
    for index in range(1, 201):
        terminal.send(f"r {index}\n".encode())
        if index % 20 == 0:
            name = names[(index // 20) % 2]
            calm_stack.kill(name)
            calm_stack.start("worker", "g1", name=name)
    text = terminal.expect(rb"<200:\d+>")
    lines = [line for line in text.split(b"\r\n") if line]
    assert lines == [b"<%d:%d>" % (n, n) for n in range(1, 201)]
