"""Breaker, retry budget and bulkhead: a failing peer is not overloaded and does not fail the caller."""

import contextvars
import threading
import time
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


def held(bulkhead: Bulkhead, end: threading.Event) -> threading.Thread:
    """A thread that holds a place until ``end`` is set."""
    inside = threading.Event()

    def hold() -> None:
        with bulkhead.place():
            inside.set()
            assert end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(5)
    return thread


def test_a_full_bulkhead_is_waited_for_while_calls_end_however_old_the_oldest_is():
    """Many orders of one product wait for its row in turn: each call is slow, but calls end all the time."""
    bulkhead = Bulkhead(2, max_wait=0.3)
    ends = [threading.Event() for _ in range(3)]
    threads = [held(bulkhead, ends[0]), held(bulkhead, ends[1])]
    time.sleep(0.4)  # both are older than the limit now
    ends[1].set()
    threads[1].join(5)
    threads.append(held(bulkhead, ends[2]))
    threading.Timer(0.1, ends[2].set).start()
    with bulkhead.place(left=5):
        assert not ends[0].is_set()
    ends[0].set()
    for thread in threads:
        thread.join(5)


def test_a_full_bulkhead_in_which_no_call_ends_refuses_after_the_limit_and_then_at_once():
    bulkhead = Bulkhead(1, max_wait=0.3)
    end = threading.Event()
    began = time.monotonic()
    thread = held(bulkhead, end)
    with pytest.raises(BulkheadFull), bulkhead.place(left=30):
        pass
    assert 0.3 <= time.monotonic() - began < 5
    again = time.monotonic()
    with pytest.raises(BulkheadFull), bulkhead.place(left=30):
        pass
    assert time.monotonic() - again < 0.2
    end.set()
    thread.join(5)


def test_a_stall_of_less_than_a_second_refuses_nobody():
    bulkhead = Bulkhead(1)
    end = threading.Event()
    thread = held(bulkhead, end)
    threading.Timer(0.6, end.set).start()
    with bulkhead.place(left=5):
        pass
    thread.join(5)


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
