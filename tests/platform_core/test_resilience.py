"""Breaker, retry budget and bulkhead: a failing peer is not overloaded and does not fail the caller."""

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from platform_core.clients.breaker import Breaker, State
from platform_core.clients.budget import RetryBudget
from platform_core.clients.bulkhead import Bulkhead, BulkheadFull


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock) -> Breaker:
    return Breaker(threshold=3, rest=10, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allows()
        breaker.failed()


def test_a_breaker_opens_after_failures_in_a_row_alone(breaker):
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state is State.CLOSED
    fail(breaker, 1)
    assert breaker.state is State.OPEN
    assert not breaker.allows()


def test_after_its_rest_one_caller_alone_may_probe(breaker, clock):
    fail(breaker, 3)
    clock.now = 13
    assert breaker.state is State.HALF_OPEN
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_again(breaker, clock):
    fail(breaker, 3)
    clock.now = 13
    fail(breaker, 1)
    assert breaker.state is State.OPEN
    clock.now = 26
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert all(breaker.allows() for _ in range(5))


def test_an_unfinished_probe_allows_the_next_one(breaker, clock):
    fail(breaker, 3)
    clock.now = 13
    assert breaker.allows()
    breaker.abandoned()
    assert breaker.allows()


def test_only_one_of_many_threads_probes(breaker, clock):
    fail(breaker, 3)
    clock.now = 13
    barrier = threading.Barrier(16)

    def ask(_: int) -> bool:
        barrier.wait()
        return breaker.allows()

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 1


def test_retries_are_a_tenth_of_the_calls_at_most():
    budget = RetryBudget()
    retries = 0
    for _ in range(500):
        budget.pay_in()
        retries += budget.take()
    assert 0 < retries <= 50


def test_the_saved_retry_budget_is_bounded():
    budget = RetryBudget(most=10)
    for _ in range(10_000):
        budget.pay_in()
    assert sum(budget.take() for _ in range(100)) == 10


def test_a_bulkhead_lets_the_next_one_in_when_a_young_one_leaves():
    bulkhead = Bulkhead(1, max_wait=30)
    inside, entered = threading.Event(), threading.Event()

    def first() -> None:
        with bulkhead.place():
            inside.set()
            entered.wait(0.05)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5)
    with bulkhead.place():
        entered.set()
    thread.join(5)


def test_a_full_bulkhead_refuses_at_once_if_the_oldest_call_is_old():
    bulkhead = Bulkhead(1, max_wait=0)
    context = contextvars.copy_context()
    with bulkhead.place(), pytest.raises(BulkheadFull):
        context.run(lambda: bulkhead.place().__enter__())


def test_a_nested_call_needs_no_second_bulkhead_place():
    bulkhead = Bulkhead(1, max_wait=0)
    with bulkhead.place(), bulkhead.place():
        pass


def test_it_never_lets_more_in_than_it_has_places():
    bulkhead = Bulkhead(3, max_wait=30)
    present, most = 0, 0
    lock = threading.Lock()

    def visit(_: int) -> None:
        nonlocal present, most
        with bulkhead.place():
            with lock:
                present += 1
                most = max(most, present)
            threading.Event().wait(0.001)
            with lock:
                present -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(visit, range(200)))
    assert most == 3
