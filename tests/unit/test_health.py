"""What a health check makes of answers that a manager seldom gives."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from terminals.control import framing, packets
from terminals.control.answers import PeerInfo, Peers
from terminals.control.channel import REPORT_SECONDS
from terminals.health import SILENT_SECONDS, Unhealthy, check

STATUS = b'{"type":"reply","req":1,"manager":{"host":"here"}}'


def peer(number: int, silent: float = 0.5, host: str = "here") -> PeerInfo:
    return PeerInfo(
        role="worker", generation=f"g{number}", pid=number, memory_bytes=1, host=host, silent=silent
    )


def told(peers: list[PeerInfo]) -> list[bytes]:
    return list(framing.parts(packets.reply(1, Peers(items=peers))))


Answering = Callable[[list[bytes], list[bytes]], str]


@pytest.fixture
def answering(short_path: Path):
    """Check the health that a manager tells of which these are the answers, of ``here``."""

    def answer(status: list[bytes], peers: list[bytes]) -> str:
        path = short_path / "manager.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    for answers in (status, peers):
                        if not connection.recv(1 << 16) or not answers:
                            return  # it goes away without a word
                        for packet in answers:
                            connection.send(packet)

            serving = threading.Thread(target=serve)
            serving.start()
            try:
                return check(str(path), "here")
            finally:
                serving.join()
                path.unlink()

    return answer


def test_a_list_that_takes_several_packets(answering: Answering):
    peers = [peer(number, host="elsewhere") for number in range(3000)] + [peer(3000)]
    packets = told(peers)
    assert len(packets) > 2
    assert answering([STATUS], packets) == "session manager, worker of g3000"


def test_a_list_in_several_answers_of_an_earlier_manager(answering: Answering):
    (first,), (second,) = told([peer(1)]), told([peer(2)])
    first = json.dumps({**json.loads(first), "more": True}).encode()
    assert answering([STATUS], [first, second]) == "session manager, worker of g1, worker of g2"


@pytest.mark.parametrize(
    ("status", "peers", "said"),
    [
        ([STATUS], told([peer(1, silent=10.5)]), "worker 1 of g1 has been silent for 10.5 s"),
        ([STATUS.replace(b"here", b"there")], told([peer(1, host="there")]), "knows no process of host here"),
        ([packets.refusal(1, "not now")], [], "the session manager: not now"),
        ([b"[]"], [], "answers nonsense"),
        ([b"{"], [], "answers nonsense"),
        ([STATUS], [b'{"type":"reply","items":3}'], "answers nonsense"),
        ([], [], "no session manager at"),
    ],
)
def test_what_is_wrong_is_one_line(answering: Answering, status: list[bytes], peers: list[bytes], said: str):
    with pytest.raises(Unhealthy, match=said):
        answering(status, peers)


def test_a_manager_that_does_not_answer(short_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("terminals.health.ANSWER_SECONDS", 0.2)
    path = short_path / "manager.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(Unhealthy, match=r"did not answer in 0\.2 s"):
            check(str(path))


def test_a_process_is_silent_when_five_reports_are_missing():
    """The check imports nothing, and so has a figure of its own."""
    assert SILENT_SECONDS == 5 * REPORT_SECONDS
