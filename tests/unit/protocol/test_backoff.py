import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.protocol.backoff import Backoff


def test_ceiling_doubles_up_to_the_cap():
    backoff = Backoff(base=0.5, cap=5.0)
    assert [backoff.ceiling(n) for n in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_delay_is_drawn_from_zero_to_the_ceiling():
    asked = []
    Backoff(base=1, cap=8, uniform=lambda low, high: asked.append((low, high)) or 0.0).delay(2)
    assert asked == [(0.0, 4.0)]


@given(st.integers(0, 10**6))
def test_delay_never_exceeds_the_cap(attempt):
    assert 0 <= Backoff(base=0.1, cap=30).delay(attempt) <= 30


@pytest.mark.parametrize(("base", "cap"), [(0, 1), (-1, 1), (2, 1)])
def test_senseless_settings_are_refused(base, cap):
    with pytest.raises(ValueError, match="negative"):
        Backoff().ceiling(-1)
    with pytest.raises(ValueError, match="base"):
        Backoff(base=base, cap=cap)
