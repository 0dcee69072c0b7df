"""The choice of a generation by weight (terminals.manager.generations, pure but for its file)."""

from collections import Counter

import pytest
from terminals.manager.generations import Generations, StaleFence


@pytest.fixture
def generations(tmp_path) -> Generations:
    table = Generations(tmp_path / "generations.json")
    table.get("g1", "b1")
    table.get("g2", "b2")
    return table


def test_choice_follows_weights_exactly(generations):
    generations.set_weights({"g1": 90, "g2": 10})
    chosen = [generations.choose(lambda g: True).name for _ in range(100)]
    assert Counter(chosen) == {"g1": 90, "g2": 10}
    assert all(chosen[at : at + 10].count("g2") == 1 for at in range(0, 100, 10))


def test_unusable_generation_is_passed_over(generations):
    generations.set_weights({"g1": 90, "g2": 10})
    assert generations.choose(lambda g: g.name == "g2").name == "g2"
    assert generations.choose(lambda g: False) is None


def test_weights_and_fence_survive_the_manager(generations, tmp_path):
    generations.set_weights({"g2": 100})
    generations.check_fence(7)
    again = Generations(tmp_path / "generations.json")
    assert (again.table["g2"].weight, again.table["g1"].weight, again.fence) == (100, 0, 7)


def test_stale_fence_is_refused(generations):
    generations.check_fence(7)
    with pytest.raises(StaleFence, match="stale fence 6"):
        generations.check_fence(6)


@pytest.mark.parametrize("weights", [{"g1": 0}, {"g1": 101}, {"g1": -1, "g2": 5}])
def test_senseless_weights_are_refused(generations, weights):
    with pytest.raises(ValueError, match="weights"):
        generations.set_weights(weights)


def test_unknown_generation_changes_nothing(generations):
    generations.set_weights({"g1": 100})
    with pytest.raises(KeyError, match="g9"):
        generations.set_weights({"g9": 100})
    assert generations.table["g1"].weight == 100


def test_the_first_generation_is_given_everything_only_on_a_new_host(generations, tmp_path):
    fresh = Generations(tmp_path / "fresh.json")
    fresh.begin_with("g1")
    assert fresh.choose(lambda g: True).name == "g1"
    generations.begin_with("g9")
    assert "g9" not in generations.table
    assert generations.choose(lambda g: True) is None
