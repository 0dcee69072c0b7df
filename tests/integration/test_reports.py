"""What processes tell the manager of themselves, across versions; and what a health check makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

import pytest
import terminals.health
from terminals.control import CONTROL_VERSION, channel, packets
from terminals.control.asking import connect
from terminals.control.channel import ManagerLink
from terminals.control.memory import proportional_set_size

from tests.support.control import hear, say
from tests.support.stack import TERMINALS, until


def peers(stack, role: str = "worker") -> list[dict]:
    return [peer for peer in stack.admin("peers")["items"] if peer["role"] == role]


def test_a_process_reports_its_memory(stack):
    (peer,) = peers(stack)
    assert peer["host"] == socket.gethostname()
    measured = proportional_set_size(stack.processes["worker-g1"].pid)
    assert 0.5 * measured < peer["memory_bytes"] < 2 * measured
    until(lambda: peers(stack)[0]["silent"] >= 1, "a moment of silence")
    until(lambda: peers(stack)[0]["silent"] < 1, "the next report")


def test_an_older_process_that_reports_nothing_is_measured(stack):
    with contextlib.closing(connect(stack.socket)) as sock:
        hello = {"type": "hello", "version": CONTROL_VERSION, "role": "web", "generation": "g1"}
        say(sock, {**hello, "build": "old", "pid": os.getpid(), "req": 1})
        assert "error" not in hear(sock)
        (peer,) = peers(stack, "web")
        assert peer["silent"] is None
        assert 0.5 < peer["memory_bytes"] / proportional_set_size() < 2


def test_an_older_manager_gets_no_reports(monkeypatch, tmp_path):
    monkeypatch.setattr(channel, "REPORT_SECONDS", 0.01)

    def received(welcome: dict, *, reports: int) -> list[str]:
        """What such a manager gets until that many reports have come, and a moment later."""
        path = str(tmp_path / f"{len(welcome)}.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
            server.bind(path)
            server.listen()

            async def talk() -> list[str]:
                link = ManagerLink(lambda packet, fds: None)
                connecting = asyncio.create_task(link.connect(path, role="web", generation="g1", build="b"))
                await asyncio.sleep(0)
                manager, _ = server.accept()
                with manager:
                    hello = hear(manager)
                    say(manager, {"type": "reply", "req": hello["req"], **welcome})
                    await connecting
                    kinds: list[str] = []

                    async def one() -> None:
                        kinds.append((await asyncio.to_thread(hear, manager))["type"])

                    async with asyncio.timeout(60):
                        while kinds.count("report") < reports:
                            await one()
                        await asyncio.sleep(0.1)
                        link.send(packets.Closed())
                        while kinds[-1:] != ["closed"]:
                            await one()
                    link.close()
                return kinds

            return asyncio.run(talk())

    assert received({}, reports=0) == ["closed"]
    assert received({"reports": True}, reports=2).count("report") >= 2


def health(stack, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, "TERMINALS_SOCKET": stack.socket},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "command",
    [[*TERMINALS, "health"], [sys.executable, "-I", "-S", terminals.health.__file__]],
    ids=["command", "containers"],
)
def test_health_of_this_host(stack, command):
    done = health(stack, command)
    assert (done.returncode, done.stdout) == (0, "session manager, worker of g1\n")
    stack.kill("manager")
    done = health(stack, command)
    assert done.returncode == 1
    assert "no session manager at" in done.stderr


def test_the_manager_makes_a_token_once(stack, tmp_path):
    stack.kill("manager")
    path, tokens = tmp_path / "token", set()
    for _ in range(2):
        command = [
            *TERMINALS,
            "manager",
            "--config",
            str(stack.root / "manager.json"),
            "--token-file",
            str(path),
        ]
        manager = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            until(lambda: path.exists() and not subprocess.call(
                [*TERMINALS, "ctl", "--socket", stack.socket, "status"], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL), "the manager")  # fmt: skip
        finally:
            manager.terminate()
            manager.communicate(timeout=10)
        tokens.add(path.read_text())
        assert path.stat().st_mode & 0o777 == 0o600
    (token,) = tokens
    assert len(token.strip()) >= 43
