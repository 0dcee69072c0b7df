"""Everybody is told of a revocation, whoever of them has just gone."""

from __future__ import annotations

from types import SimpleNamespace

from terminals.control import packets
from terminals.manager.server import Manager


class Told:
    """A process on the control socket; writing to one that is ``gone`` takes it out of the pool."""

    def __init__(self, pool: list[Told], *, gone: bool = False) -> None:
        self.pool, self.gone = pool, gone
        self.heard: list[packets.Revoked] = []
        pool.append(self)

    def send(self, packet: packets.Revoked) -> None:
        self.heard.append(packet)
        if self.gone:
            self.pool.remove(self)


def test_one_that_is_gone_keeps_no_other_from_hearing():
    peers: list[Told] = []
    Told(peers, gone=True)
    worker, web = Told(peers), Told(peers)
    manager = Manager.__new__(Manager)
    manager.pool = SimpleNamespace(peers=peers)  # type: ignore[assignment]
    manager._tell({"ada": 5})
    assert [peer.heard for peer in (worker, web)] == [[packets.Revoked(users={"ada": 5})]] * 2
