"""Certificates by which hosts know each other, before anything is deployed to them."""

from __future__ import annotations

import pytest

from rollout.config import load
from rollout.errors import ConfigError, Locked
from rollout.ledger import Lease, Ledger
from rollout.observer import NullObserver
from rollout.pipeline import certify
from tests.unit.config.test_peers import LISTEN, written


@pytest.fixture
def config(tmp_path):
    return load(written(tmp_path))


def test_they_are_made_once_and_brought_by_a_deployment(config):
    first = certify(config, "e", observer=NullObserver())
    assert (first.made, [(host.tag, host.brought) for host in first.hosts]) == (
        True,
        [("eu01", False), ("us01", False)],
    )
    again = certify(config, "e", observer=NullObserver())
    assert (again.made, again.hosts) == (False, first.hosts)
    with Ledger(config.ledger_url) as ledger:
        assert [event.kind for event in ledger.events("e")] == ["certify", "certify"]
        assert ledger.verify().flaws == ()


@pytest.mark.parametrize("missing", ["ca.pem", "ca.key"])
def test_half_an_authority_is_not_made_anew(config, missing):
    certify(config, "e", observer=NullObserver())
    path = config.path.parent / missing
    path.rename(path.with_suffix(".kept"))
    with pytest.raises(ConfigError, match=f"{missing} is not: bring it from where they were made"):
        certify(config, "e", observer=NullObserver())
    path.with_suffix(".kept").rename(path)
    certify(config, "e", observer=NullObserver())


def test_where_hosts_do_not_ask_each_other_there_is_nothing_to_certify(tmp_path):
    listen = {key: port for key, port in LISTEN.items() if key != "peers"}
    config = load(written(tmp_path, listen=listen, authority=None))
    with pytest.raises(ConfigError, match=r"say listen\.peers and authority first"):
        certify(config, "e", observer=NullObserver())


def test_nobody_is_certified_in_the_middle_of_a_rollout(config):
    with Ledger(config.ledger_url) as ledger, Lease(ledger, "e"):
        with pytest.raises(Locked):
            certify(config, "e", observer=NullObserver())
        assert not (config.path.parent / "ca.key").exists()
