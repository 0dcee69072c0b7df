"""Ports, room and locale of this machine, before anything is started on it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.config import Listen
from rollout.doctor import Finding, examine_host
from rollout.doctor.local import examine_disk
from rollout.ports import refusal
from tests.support.disk import small_disk
from tests.support.ports import free_ports
from tests.support.stack import until

SERVE = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""


@pytest.fixture
def listen() -> Listen:
    system, claude, web = free_ports(3)
    return Listen(system=system, claude=claude, web=web)


@contextlib.contextmanager
def somebody_on(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], cwd=folder)
    try:
        until(lambda: refusal("127.0.0.1", port), "somebody on the port")
        yield process
    finally:
        process.kill()
        process.wait()


def of_port(port: int, found: list[Finding]) -> Finding:
    return next(finding for finding in found if finding.subject == f"port {port}")


def test_free_ports_are_found_free(listen: Listen, tmp_path: Path) -> None:
    assert {finding.verdict for finding in examine_host("local", tmp_path, listen)} == {"ok"}


def test_a_port_that_is_taken_is_told_with_whoever_has_it(listen: Listen, tmp_path: Path) -> None:
    root = tmp_path / "dev"
    with somebody_on(listen.claude, tmp_path) as process:
        found = examine_host("local", root, listen)
        assert of_port(listen.system, found).verdict == "ok"
        taken = of_port(listen.claude, found)
        assert taken.verdict == "wrong"
        assert Path(sys.executable).name in taken.text and f"process {process.pid}" in taken.text
        assert "\n" not in taken.text
        assert "listen.claude" in taken.remedy


def test_one_that_the_environment_has_itself_is_ours(listen: Listen, tmp_path: Path) -> None:
    root = tmp_path / "dev"
    root.mkdir()
    with somebody_on(listen.web, root):
        assert of_port(listen.web, examine_host("local", root, listen)).text == "ours"
    with somebody_on(listen.web, tmp_path):
        assert of_port(listen.web, examine_host("local", root, listen, [listen.web])).text == "ours"


def test_an_address_that_this_machine_does_not_have(tmp_path: Path, listen: Listen) -> None:
    elsewhere = listen.model_copy(update={"host": "192.0.2.1"})
    finding = of_port(listen.web, examine_host("local", tmp_path, elsewhere))
    assert finding.verdict == "wrong"
    assert f"192.0.2.1:{listen.web}: Cannot assign requested address" in finding.text


def test_a_disk_with_next_to_no_room_is_wrong(tmp_path: Path) -> None:
    assert examine_disk(tmp_path / "not" / "there", "", "").verdict == "ok"
    with small_disk(tmp_path):
        finding = examine_disk(tmp_path / "builds", "", "old builds are there")
        assert (finding.verdict, finding.remedy) == ("wrong", "make room; old builds are there")
