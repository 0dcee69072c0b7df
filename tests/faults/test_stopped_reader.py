"""A client that stops reading slows its own shell, and costs the worker a bounded amount."""

from __future__ import annotations

from pathlib import Path

from tests.support.stack import until

BOUND = 2 << 20
"""Bytes that one connection may cost its worker, whatever its client does (docs/protocol.md)."""


def memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


def output(stack, session: str) -> int:
    return next(entry["output"] for entry in stack.admin("sessions")["items"] if entry["id"] == session)


def test_a_client_that_does_not_read(stack):
    other = stack.terminal()
    other.open()
    other.send(b"echo [$((6 * 7))]\n")
    other.expect(rb"\[42\]")
    stopped = stack.terminal()
    stopped.open()
    worker = stack.processes["worker-g1"].pid
    before = memory(worker)
    stopped.send(b"seq 1 100000000\n")
    position = -1

    def still() -> bool:
        """The shell makes no progress between two looks: it is being held."""
        nonlocal position
        last, position = position, output(stack, stopped.session)
        return position == last > 1 << 16

    until(still, "the shell being slowed")
    assert memory(worker) - before < BOUND
    # The ring is what is kept for it, no more, and the other one does not notice.
    assert position - stopped.received < stack.settings.get("ring_bytes", 1 << 20) + BOUND + (8 << 20)
    other.send(b"echo [$((7 * 7))]\n")
    other.expect(rb"\[49\]")
    # It reads again: everything is there, in order.
    shown = stopped.expect(rb"\r\n200000\r\n")
    numbers = shown.split(b"\r\n")
    first = numbers.index(b"1")
    assert numbers[first : first + 200000] == [str(n).encode() for n in range(1, 200001)]
    assert memory(worker) - before < BOUND
    stopped.close(kill=True)
    other.close(kill=True)
