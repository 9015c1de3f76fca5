"""Concurrent requests share one read of the feeds, but never one that began before the request."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from analytics_svc import sharing
from analytics_svc.sharing import Shared

ASKERS = 8
TIMES = 40
LONG = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    began: float
    made_by: int
    will_do: bool = True


class Refused(Exception):
    """The error of a run. Its argument is the thread of the run."""


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(sharing, "MAX_WAIT", LONG)


def ask(get: Callable[[], Outcome]) -> list[tuple[float, int, Outcome | Refused]]:
    """The result of every caller, with the time and the thread of the call."""
    together = threading.Barrier(ASKERS)

    def one(_: int) -> list[tuple[float, int, Outcome | Refused]]:
        results: list[tuple[float, int, Outcome | Refused]] = []
        together.wait()
        for _ in range(TIMES):
            asked = time.monotonic()
            try:
                results.append((asked, threading.get_ident(), get()))
            except Refused as error:
                results.append((asked, threading.get_ident(), error))
        return results

    with ThreadPoolExecutor(ASKERS) as pool:
        return [each for results in pool.map(one, range(ASKERS)) for each in results]


def test_callers_share_a_run_that_began_after_they_called():
    runs = []

    def make() -> Outcome:
        runs.append(Outcome(time.monotonic(), threading.get_ident()))
        time.sleep(0.002)
        return runs[-1]

    shared = Shared(make, will_do=lambda outcome: True)
    results = ask(lambda: shared.get(LONG))
    assert len(results) == ASKERS * TIMES
    assert all(isinstance(outcome, Outcome) and outcome.began >= asked for asked, _, outcome in results)
    assert len(runs) < len(results) / 2


def test_runs_do_not_overlap():
    running, most = [], []

    def make() -> Outcome:
        running.append(1)
        most.append(len(running))
        time.sleep(0.001)
        running.pop()
        return Outcome(0.0, 0)

    shared = Shared(make, will_do=lambda outcome: True)
    ask(lambda: shared.get(LONG))
    assert max(most) == 1


def test_errors_and_unsuitable_results_are_not_shared():
    turns = iter(range(10**6))

    def make() -> Outcome:
        turn = next(turns)
        time.sleep(0.001)
        if turn % 3 == 0:
            raise Refused(threading.get_ident())
        return Outcome(time.monotonic(), threading.get_ident(), will_do=turn % 3 == 1)

    shared = Shared(make, will_do=lambda outcome: outcome.will_do)
    results = ask(lambda: shared.get(LONG))
    assert len(results) == ASKERS * TIMES
    for _, asker, outcome in results:
        if isinstance(outcome, Refused):
            assert outcome.args == (asker,)
        elif not outcome.will_do:
            assert outcome.made_by == asker
    assert any(isinstance(outcome, Outcome) and outcome.made_by != asker for _, asker, outcome in results)


@pytest.mark.parametrize("max_wait", [0.0, 0.01])
def test_a_hanging_run_does_not_block_callers(max_wait):
    hangs, goes_on = threading.Event(), threading.Event()

    def make() -> str:
        if not hangs.is_set():
            hangs.set()
            goes_on.wait(LONG)
            return "late"
        return "at once"

    shared = Shared(make, will_do=lambda outcome: True)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(shared.get, LONG)
        assert hangs.wait(LONG)
        try:
            assert [shared.get(max_wait) for _ in range(3)] == ["at once"] * 3
            assert not late.done()
        finally:
            goes_on.set()
        assert late.result(LONG) == "late"
