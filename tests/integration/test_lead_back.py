"""The way back on several hosts: one that is dead, silent, or led by somebody else delays no other."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from rollout.config import Host, load
from rollout.direct.mark import NAME, Mark
from rollout.engine.process import ProcessEngine
from tests.support.project import TwoStages
from tests.support.resident import Resident
from tests.support.stack import until


@pytest.fixture
def hosts(tmp_path_factory):
    """Directories of four hosts, and the engine that reaches them: ``gone`` has no session manager."""
    folder = tmp_path_factory.mktemp("hosts")
    TwoStages(folder)
    config = load(folder / "rollout.yaml")
    roots = {name: folder / name for name in ("well", "silent", "gone", "broken")}
    for root in roots.values():
        (root / "run").mkdir(parents=True)
    named = {name: Host(name=name, root=root) for name, root in roots.items()}
    environment = config.environment("dev").model_copy(update={"hosts": named})
    yield roots, ProcessEngine(config, environment)


def test_one_that_says_nothing_delays_no_other(stack, hosts):
    roots, engine = hosts
    stack.start_generation("g2", weight=100)
    somebody = Resident(stack.terminal())
    (roots["well"] / "run" / "manager.sock").symlink_to(stack.socket)
    (roots["broken"] / "run" / "manager.sock").symlink_to(stack.socket)
    mark = Mark(time.time(), "ada", "g2", "0.2.0-b", "g1", "0.1.0-a", 9)
    (roots["broken"] / NAME).write_text(mark.as_json())
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    silent.bind(str(roots["silent"] / "run" / "manager.sock"))
    silent.listen()
    found = []
    names = ("silent", "gone", "broken", "well")
    leading = threading.Thread(target=lambda: found.append(engine.lead_back("g1", fence=7, hosts=names)))
    leading.start()
    try:
        until(lambda: stack.generation("g1")["weight"] == 100, "the well one's way back")
        until(lambda: stack.generation("g2")["connections"] == 0, "the last of its people")
        assert _waited_for(silent), "the silent one was given up before the others had their turn"
    finally:
        silent.close()
        leading.join(60)
    led = found[0]
    assert led.result.moved == 1
    assert set(led.failed) == {"silent", "gone"}
    assert "no session manager" in led.failed["gone"]
    assert led.broken == {"broken": mark}
    somebody.leave()


def _waited_for(listener: socket.socket) -> bool:
    """Whether whoever has asked there waits for an answer still."""
    asked, _ = listener.accept()
    with asked:
        asked.setblocking(False)
        assert asked.recv(65536), "nothing was asked"
        try:
            return asked.recv(65536) != b""
        except BlockingIOError:
            return True
