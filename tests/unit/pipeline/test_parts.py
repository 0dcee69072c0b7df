"""What of what stays is replaced on a host, what is said of it, and what is put back."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.engine.base import HostFacts, PartRef
from rollout.errors import Refused
from rollout.pipeline.obstacles import refuse
from rollout.pipeline.parts import (
    as_params,
    from_params,
    new_holders,
    replacements,
    summary,
    there,
    undone,
)

MANAGER = PartRef("b2", "m2", "s2", {"max_sessions": 3, "profiles": {"claude": {"command": ["x"]}}})
MONITOR = PartRef("b2", "w2", "t2", {"every": 30.0})
HOLDER = PartRef("b2", "h2", "", {"version": 1, "resumes": [1]})


def facts(**parts: Any) -> list[HostFacts]:
    """A host that has all of them, of build b1, but for what is given."""
    status: dict[str, Any] = {
        "manager": {"build": "b1", "code": "m1", "settings": "s1", "configured": {"max_sessions": 1000}},
        "monitor": {"build": "b1", "code": "w1", "settings": "t1", "configured": {"every": 60.0}},
        "holder": {"build": "b1", "code": "h1", "version": 1, "resumes": [1]},
        "sessions": {"live": 7},
        **parts,
    }
    return [HostFacts("a", ("b1",), status)]


def wanted(**parts: PartRef | None) -> dict[str, dict[str, PartRef | None]]:
    return {"a": {"manager": MANAGER, "holder": HOLDER, "monitor": MONITOR, **parts}}


def said(**parts: PartRef | None) -> str:
    return summary(replacements(facts(), wanted(**parts))["a"])


def test_all_that_differs_is_replaced_and_why_is_said():
    assert said() == (
        "session manager: build b1 -> b2; settings: max_sessions 1000 -> 3, profiles.claude.command default"
        " -> x; holder: build b1 -> b2; monitor: build b1 -> b2; monitor's settings: every 60.0 -> 30.0"
    )


def test_what_has_not_changed_is_left_alone_of_whatever_build_it_is():
    same = wanted(
        manager=PartRef("b2", "m1", "s1"), holder=PartRef("b2", "h1"), monitor=PartRef("b2", "w1", "t1")
    )
    assert replacements(facts(), same) == {}


def test_with_other_settings_alone_it_stays_of_its_build():
    found = replacements(facts(), wanted(monitor=PartRef("b2", "w1", "t2", {"every": 5.0})))
    old, new = found["a"]["monitor"]
    assert (old.build, new.build, new.settings) == ("b1", "b1", "t2")


def test_a_monitor_comes_and_goes():
    assert summary(replacements(facts(monitor=None), wanted())["a"]).endswith("; monitor: none -> build b2")
    assert said(monitor=None).endswith("; monitor: build b1 -> none")
    assert "monitor" not in replacements(facts(monitor=None), wanted(monitor=None))["a"]


def test_a_host_without_a_session_manager_gets_all_with_its_first_generation():
    assert replacements([HostFacts("a", (), None)], wanted()) == {}


def test_a_session_manager_that_has_lost_its_holder_says_nothing_of_it():
    assert "holder" not in replacements(facts(holder=None), wanted())["a"]


def test_a_holder_of_no_build_on_the_host_is_replaced_and_not_put_back():
    # The first holder of a host may name its version alone, and there are no files to go on as that one.
    replaced = replacements(
        facts(holder={"build": "0.1.0", "code": "h1", "version": 1, "resumes": [1]}), wanted()
    )
    assert "holder: build unknown -> b2 (it stays when the rest is taken back)" in summary(replaced["a"])
    assert set(replaced["a"]) == {"manager", "holder", "monitor"}
    assert set(undone(replaced)["a"]) == {"manager", "monitor"}


def test_a_holder_that_cannot_go_on_from_the_one_that_runs_is_refused_with_its_cost():
    new = PartRef("b2", "h3", "", {"version": 3, "resumes": [2, 3]})
    with pytest.raises(Refused, match=r"a: the holder of build b2 is of version 3.*the end of 7 live sess"):
        refuse(new_holders(facts(), wanted(holder=new)))
    assert "holder" not in replacements(facts(), wanted(holder=new))["a"]
    refuse(new_holders(facts(), wanted()))


def test_ports_that_are_the_container_s_are_refused_with_their_cost():
    new = PartRef("b1", "h1", "", {"version": 1, "resumes": [1], "ports": {"system": 4011, "web": 4110}})
    with pytest.raises(Refused, match=r"container: system 4001 -> 4011: that takes the end of 7 live"):
        refuse(new_holders(facts(listeners={"system": 4001, "web": 4110}), wanted(holder=new)))
    refuse(new_holders(facts(listeners={"system": 4011, "web": 4110}), wanted(holder=new)))
    refuse(new_holders(facts(listeners={"system": 4001, "web": 4110}), wanted()))


def test_a_holder_from_which_there_is_no_way_back_stays_and_the_plan_says_so():
    new = PartRef("b2", "h2", "", {"version": 2, "resumes": [1, 2]})
    replaced = replacements(facts(), wanted(holder=new))
    assert "holder: build b1 -> b2 (version 1 -> 2: it stays when the rest is taken back)" in summary(
        replaced["a"]
    )
    assert list(undone(replaced)["a"]) == ["manager", "monitor"]
    assert list(undone(replacements(facts(), wanted()))["a"]) == ["manager", "holder", "monitor"]
    assert undone({"a": {"holder": replaced["a"]["holder"]}}) == {}


def test_an_older_build_leaves_the_holder_that_runs():
    old = PartRef("b0", "h0", "", {"version": 1})
    assert "holder" not in replacements(facts(), wanted(holder=old))["a"]
    refuse(new_holders(facts(), wanted(holder=old)))
    refuse(new_holders(facts(), wanted(holder=PartRef("b0", "h0"))))


def test_both_sides_survive_the_ledger():
    replaced = replacements(facts(monitor=None), wanted())
    before, after = as_params(replaced, 0), as_params(replaced, 1)
    assert from_params(before, ["a"])["a"]["monitor"] is None
    assert from_params(after, ["a"])["a"]["manager"] == PartRef("b2", "m2", "s2")
    assert from_params(after, ["b"]) == {}


def test_what_is_there_is_of_that_build_too():
    ref = PartRef("b1", "m1", "s1")
    assert there(ref, ref)
    assert there(None, None)
    assert not there(PartRef("b2", "m1", "s1"), ref)
    assert not there(None, ref)
    assert not there(ref, None)
