"""Every worker, or the session manager, goes under 2,000 live sessions, several times."""

from __future__ import annotations

import pytest

from benchmarks.storm import run

pytestmark = [
    pytest.mark.slow("nine storms of 2,000 sessions"),
    # The machine has 4,096 terminals, a quarter of which no container gets: hosts beside it would have none.
    pytest.mark.xdist_group("engine"),
]

SESSIONS = 2000
STORMS = 5


@pytest.mark.timeout(900)
def test_a_storm_loses_nothing_and_grows_nothing():
    figures = run(SESSIONS, STORMS)
    assert figures.live == SESSIONS
    assert figures.wrong == 0
    assert figures.skipped == 0
    assert figures.loops == 0
    # The first storm may warm things up; from then on memory is flat.
    memory = [storm.manager_bytes for storm in figures.storms]
    assert memory[-1] < 1.05 * memory[1] + (1 << 20), memory


@pytest.mark.timeout(900)
@pytest.mark.parametrize("of", ["manager", "replacement"])
def test_the_session_managers_end_loses_nothing(of):
    figures = run(SESSIONS, 2, of=of)
    assert figures.live == SESSIONS
    assert (figures.wrong, figures.skipped, figures.loops) == (0, 0, 0)
