import pytest
from terminals.protocol.breaker import BreakerState, CircuitBreaker


def opened(**options) -> CircuitBreaker:
    breaker = CircuitBreaker(threshold=3, cooldown=5, max_cooldown=15, **options)
    assert [breaker.failure(0.0) for _ in range(3)] == [False, False, True]
    return breaker


def test_threshold_is_three_by_default():
    assert CircuitBreaker().threshold == 3


def test_opens_at_the_threshold_and_refuses():
    breaker = opened()
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allow(4.9)
    assert breaker.retry_after(2.0) == 3.0
    assert breaker.opened == 1


def test_success_between_failures_starts_the_count_anew():
    breaker = CircuitBreaker(threshold=3)
    for _ in range(5):
        breaker.failure(0.0)
        breaker.failure(0.0)
        breaker.success()
    assert breaker.state is BreakerState.CLOSED


def test_half_open_lets_one_trial_through():
    breaker = opened()
    assert breaker.allow(5.0)
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.allow(5.0)


def test_success_of_the_trial_closes():
    breaker = opened()
    breaker.allow(5.0)
    breaker.success()
    assert breaker.allow(5.0)
    assert breaker.failures == 0


def test_failure_of_the_trial_doubles_the_cooldown_up_to_the_limit():
    breaker, now, waits = opened(), 5.0, []
    for _ in range(4):
        assert breaker.allow(now)
        breaker.failure(now)
        waits.append(breaker.retry_after(now))
        now += waits[-1]
    assert waits == [10, 15, 15, 15]


def test_a_failure_while_it_is_open_changes_nothing():
    breaker = opened()
    before = breaker.standing
    assert not breaker.failure(1.0)
    assert breaker.standing == before


def test_another_goes_on_where_one_stood():
    breaker = opened()
    breaker.allow(5.0)
    other = CircuitBreaker()
    other.restore(breaker.standing)
    assert other.state is BreakerState.HALF_OPEN
    assert other.standing == breaker.standing


def test_one_that_could_not_work_is_refused():
    with pytest.raises(ValueError, match="threshold"):
        CircuitBreaker(threshold=0)
