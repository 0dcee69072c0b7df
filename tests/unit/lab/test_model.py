"""Names and addresses of a lab's hosts, and what ssh is told of them."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import keys
from lab.model import Lab, LabError, overlap


def lab(state: Path = Path("/somewhere"), **counts: int) -> Lab:
    return Lab("test", state, IPv4Network("10.9.8.0/24"), tuple(counts.items()))


def test_a_host_has_the_same_address_whatever_hosts_there_are_besides():
    assert [(host.name, host.address) for host in lab(production=2, dev=1).hosts] == [
        ("dev-1", "10.9.8.11"),
        ("production-1", "10.9.8.31"),
        ("production-2", "10.9.8.32"),
    ]
    assert lab(production=1).host("production-1").address == "10.9.8.31"


def test_the_most_hosts_have_different_addresses():
    addresses = [host.address for host in lab(dev=9, staging=9, production=9).hosts]
    assert len(set(addresses)) == 27


def test_a_host_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(LabError, match=r"staging-3: no such host; the lab has staging-1, staging-2"):
        lab(staging=2).host("staging-3")


def test_a_lab_is_read_back_as_it_was_written(tmp_path):
    written = lab(tmp_path, dev=1, staging=2)
    written.save()
    assert Lab.load(tmp_path) == written


def test_a_folder_without_a_lab_or_with_a_damaged_one_says_what_to_do(tmp_path):
    with pytest.raises(LabError, match="no lab here; `python -m lab up` makes one"):
        Lab.load(tmp_path)
    (tmp_path / "lab.json").write_text("{}")
    with pytest.raises(LabError, match="damaged"):
        Lab.load(tmp_path)


def test_ranges_overlap_in_either_direction():
    taken = [("a", IPv4Network("10.1.0.0/16")), ("b", IPv4Network("10.9.8.128/25"))]
    assert overlap(IPv4Network("10.9.8.0/24"), taken) == taken[1]
    assert overlap(IPv4Network("10.1.2.0/24"), taken) == taken[0]
    assert overlap(IPv4Network("10.2.0.0/16"), taken) is None


def test_the_inventory_has_a_group_for_each_environment_that_has_hosts():
    text = keys.inventory(lab(dev=1, production=1), "now")
    assert (
        "    dev:\n      hosts:\n        dev-1:\n    production:\n      hosts:\n        production-1:\n"
        in text
    )
    assert "staging" not in text
