"""How many requests a caller may make in a minute, and what the answers say about it."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils.timezone import now

from platform_core.auth import budgets, throttle
from platform_core.auth.budgets import SECONDS, Tallies, budget_of
from platform_core.auth.identity import NOBODY, Identity, Kind
from platform_core.auth.throttle import Limit
from platform_core.conf import rate_limits
from platform_core.conf.environment import ConfigurationError, parsed
from platform_core.conf.settings import service_settings
from platform_core.http.errors import DeadlineExceeded
from platform_core.models import Throttle
from platform_core.vocabulary import Role
from tests.people import as_user, bearer, service_token
from tests.wire import assert_problem, at_once, statements_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("production")]
READ, FEED = "/api/orders", "/api/events"
SMALL = {("customer", "reads"): 3, ("customer", "writes"): 4, ("customer", "mails"): 2, ("anonymous", "reads"): 2}
HERE, THERE = {"REMOTE_ADDR": "203.0.113.7"}, {"REMOTE_ADDR": "198.51.100.9"}


@pytest.fixture(autouse=True)
def _nothing_spent(settings: Any) -> Iterator[None]:
    settings.RATE_LIMITS = SMALL
    budgets.tallies.forget()
    yield
    budgets.tallies.forget()


def shown(answer: Any) -> tuple[str, int, int, int, int]:
    """The headers of an answer: the limit's name, q, w, r and t."""
    policy = re.fullmatch(r'"([a-z]+)";q=(\d+);w=(\d+)', answer["RateLimit-Policy"])
    state = re.fullmatch(r'"([a-z]+)";r=(\d+);t=(\d+)', answer["RateLimit"])
    assert policy and state and policy[1] == state[1]
    return policy[1], *map(int, (policy[2], policy[3], state[2], state[3]))


def test_answers_show_what_is_left_of_the_budget(api):
    answers = [api.get(READ, as_user(7)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [shown(answer)[:4] for answer in answers] == [("reads", 3, 60, left) for left in (2, 1, 0)]
    assert all(1 <= shown(answer)[4] <= 60 for answer in answers)


def test_beyond_the_budget_requests_are_refused_until_it_begins_again(api):
    for _ in range(3):
        api.get(READ, as_user(7))
    refused = api.get(READ, as_user(7))
    assert_problem(refused, 429, "throttled")
    *policy, left, seconds = shown(refused)
    assert (policy, left) == (["reads", 3, 60], 0)
    assert seconds <= int(refused["Retry-After"]) <= seconds + 1 <= 61
    Throttle.objects.update(resets_at=now() - timedelta(seconds=1))
    end_windows()
    assert api.get(READ, as_user(7)).status_code == 200


def end_windows() -> None:
    """As if a minute had passed."""
    for tally in budgets.tallies._tallies.values():
        tally.until -= SECONDS


@pytest.mark.parametrize(
    "method, path", [("get", "/api/orders/1"), ("head", READ), ("options", READ), ("get", "/api/docs")]
)
def test_all_reads_count_together(api, method, path):
    for _ in range(3):
        api.get(READ, as_user(7))
    assert getattr(api, method)(path, headers=as_user(7)).status_code == 429


def test_reads_and_writes_have_separate_budgets(api):
    for _ in range(4):
        api.get(READ, as_user(7))
    answer = api.post("/api/orders", {}, headers=as_user(7))
    assert_problem(answer, 400, "invalid")


def test_writes_that_send_mail_have_a_smaller_budget(api):
    paths = ("/api/orders", "/api/orders/99/cancel", "/api/orders")
    answers = [api.post(path, {}, headers=as_user(7)) for path in paths]
    assert [answer.status_code for answer in answers] == [400, 404, 429]
    assert shown(answers[0])[:4] == ("mails", 2, 60, 1)
    assert shown(answers[2])[:4] == ("mails", 2, 60, 0)


def test_a_refused_request_uses_up_no_other_budget(api, settings):
    settings.RATE_LIMITS = {**SMALL, ("staff", "writes"): 3, ("staff", "mails"): 1}
    boss = as_user(9, "admin")
    assert [api.post("/api/orders", {}, headers=boss).status_code for _ in range(4)] == [400, 429, 429, 429]
    answer = api.post("/api/notes", {"name": "n", "label": "l"}, headers=boss)
    assert (answer.status_code, shown(answer)[:4]) == (201, ("writes", 3, 60, 1))


def test_each_person_has_a_budget_of_their_own_whatever_their_token_and_address(api):
    for number in range(3):
        headers = as_user(7, **{"X-Forwarded-For": f"192.0.2.{number}"})
        assert api.client.get(READ, headers=headers, REMOTE_ADDR=f"203.0.113.{number}").status_code == 200
    assert api.get(READ, as_user(7, sid="another")).status_code == 429
    assert api.get(READ, as_user(8)).status_code == 200


def test_anonymous_callers_have_a_budget_by_address(api):
    docs = [api.client.get("/api/docs", **address) for address in (HERE, HERE, HERE, THERE)]
    assert [answer.status_code for answer in docs] == [200, 200, 429, 200]


def test_an_anonymous_caller_does_not_get_around_it_by_a_header(api, settings):
    settings.NUM_PROXIES = 1
    asked = [
        api.client.get("/api/docs", headers={"X-Forwarded-For": f"192.0.2.{number}, 203.0.113.7:{number}"})
        for number in range(3)
    ]
    assert [answer.status_code for answer in asked] == [200, 200, 429]


def test_services_have_no_limit_unless_one_is_set(api, settings):
    headers = bearer(service_token("analytics-service", "order-service"))
    answers = [api.get(FEED, headers) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert not answers[0].has_header("RateLimit")
    settings.RATE_LIMITS = {("service", "reads"): 2}
    assert [api.get(FEED, headers).status_code for _ in range(3)] == [200, 200, 429]


def test_health_checks_are_not_limited(api):
    for _ in range(5):
        assert api.client.get("/health/live", **HERE).status_code == 200


def test_browsers_may_read_the_headers_on_pages_of_other_origins(api, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example.com"]
    answer = api.get(READ, as_user(7, Origin="https://shop.example.com"))
    exposed = answer["Access-Control-Expose-Headers"].split(", ")
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(exposed)


# Roles


@pytest.mark.parametrize(
    "caller, expected",
    [
        (NOBODY, 10),
        (Identity(Kind.USER, "7"), 20),
        (Identity(Kind.USER, "7", frozenset({Role.CATALOG})), 30),
        (Identity(Kind.USER, "7", frozenset({Role.ORDERS})), 40),
        (Identity(Kind.USER, "7", frozenset({Role.ORDERS, Role.CATALOG})), 40),
        (Identity(Kind.USER, "7", frozenset({Role.ORDERS, Role.SUPPORT})), None),
        (Identity(Kind.LOCAL, "root"), 30),
        (Identity(Kind.SERVICE, "order-service"), None),
    ],
    ids=str,
)
def test_a_person_with_several_roles_has_the_largest_budget(settings, caller, expected):
    settings.RATE_LIMITS = {
        ("anonymous", "reads"): 10,
        ("customer", "reads"): 20,
        ("staff", "reads"): 30,
        ("orders", "reads"): 40,
        ("support", "reads"): None,
    }
    assert budget_of(caller, "reads") == expected


def limits_from(text: str, mode: str = "production") -> rate_limits.Budgets:
    found = service_settings("order_svc", environment={"RATE_LIMITS": text, "PLATFORM_ENV": mode})
    return found["RATE_LIMITS"]


def test_the_variable_changes_single_budgets():
    assert limits_from("") == rate_limits.DEFAULTS
    changed = limits_from("customer.reads=600, support.mails=off")
    assert changed == {**rate_limits.DEFAULTS, ("customer", "reads"): 600, ("support", "mails"): None}


def test_all_limits_can_be_off(settings):
    settings.RATE_LIMITS = limits_from("off")
    callers = [NOBODY, Identity(Kind.USER, "7"), Identity(Kind.USER, "7", frozenset(Role))]
    assert {budget_of(caller, kind) for caller in callers for kind in rate_limits.KINDS} == {None}


def test_development_has_no_limits_but_those_that_are_set():
    assert limits_from("", "development") == {}
    assert limits_from("anonymous.reads=5", "development") == {("anonymous", "reads"): 5}


@pytest.mark.parametrize(
    "text",
    [
        *("customer.reads", "customer.reads=", "customer.reads=0", "customer.reads=-1", "customer.reads=١"),
        *("customers.reads=1", "customer.orders=1", "customer.reads=1;staff.reads=1", "on", "off off"),
        *("customer.reads=1,customer.reads=2", "customer.reads=1000000001", "customer.reads=OFF"),
    ],
)
def test_a_malformed_variable_stops_the_start(text):
    with pytest.raises(ConfigurationError, match="RATE_LIMITS: expected `off`, or entries such as"):
        parsed({"RATE_LIMITS": text})


# Counting


def test_a_read_adds_no_statement_until_the_batch_is_full(api, settings):
    settings.RATE_LIMITS = {("customer", "reads"): 500}
    ask = [statements_of(lambda: api.get(READ, as_user(7))) for _ in range(20)]
    assert [len(statements) for statements in ask] == [*[1] * 9, 2, *[1] * 9, 2]
    assert Throttle.objects.get().count == 20


def test_an_order_adds_one_statement_for_all_its_limits(api, settings):
    settings.RATE_LIMITS = {("customer", "writes"): 40, ("customer", "mails"): 40}
    statements = statements_of(lambda: api.post("/api/orders", {}, headers=as_user(7)))
    assert len(statements) == 1
    assert sorted(Throttle.objects.values_list("count", flat=True)) == [1, 1]


def test_refused_requests_cost_no_statement(api):
    for _ in range(3):
        api.get(READ, as_user(7))
    assert statements_of(lambda: api.get(READ, as_user(7))) == []


def spent(tallies: Tallies, limit: Limit, times: int) -> int:
    """How many of these requests are accepted."""
    return sum(tallies.spend([limit])[0].left >= 0 for _ in range(times))


def test_processes_share_a_small_budget_exactly():
    limit = Limit("mails", "user:7", 30, SECONDS)
    processes = [Tallies() for _ in range(3)]
    accepted = sum(spent(processes[number % 3], limit, 1) for number in range(90))
    assert accepted == 30


@pytest.mark.parametrize("most", [99, 100, 500])
def test_each_process_lets_through_at_most_a_batch_too_many(most):
    limit = Limit("reads", "user:7", most, SECONDS)
    processes = [Tallies() for _ in range(3)]
    accepted = sum(spent(processes[number % 3], limit, 1) for number in range(3 * most))
    assert most <= accepted <= most + 3 * (max(1, most // 50) - 1)


@pytest.mark.django_db(transaction=True)
def test_threads_of_two_processes_get_no_more_than_one_thread():
    limit = Limit("reads", "user:7", 200, SECONDS)
    processes = [Tallies(), Tallies()]
    accepted = sum(at_once([lambda n=n: spent(processes[n % 2], limit, 100) for n in range(6)]))
    # Of six requests that are counted at once when the budget ends, each may be refused because of the others.
    assert 200 - 6 <= accepted <= 200 + 2 * 3


def test_the_window_is_that_of_postgres():
    limit = Limit("mails", "user:7", 5, SECONDS)
    Throttle.objects.create(key=limit.key, count=3, resets_at=now() + timedelta(seconds=20))
    (left,) = Tallies().spend([limit])
    assert left.left == 1
    assert 18 <= left.seconds <= 20


def test_a_new_window_begins_from_nothing():
    limit = Limit("mails", "user:7", 5, SECONDS)
    process = Tallies()
    assert spent(process, limit, 7) == 5
    Throttle.objects.update(resets_at=now() - timedelta(seconds=1))
    process._tallies[limit].until -= SECONDS
    assert spent(process, limit, 7) == 5


def test_a_window_that_postgres_has_begun_before_this_process_noticed_counts():
    limit = Limit("reads", "user:7", 100, SECONDS)
    process = Tallies()
    assert spent(process, limit, 90) == 90
    Throttle.objects.update(resets_at=now() - timedelta(seconds=1))
    process._tallies[limit].until -= 40
    assert spent(process, limit, 200) == 100


@pytest.mark.parametrize("error", [OperationalError("gone"), DeadlineExceeded()], ids=["down", "late"])
def test_while_postgres_does_not_answer_a_process_counts_alone_and_tells_it_later(monkeypatch, error):
    def fail(times: Any) -> Any:
        raise error

    limit, process, real = Limit("mails", "user:7", 10, SECONDS), Tallies(), throttle.add
    monkeypatch.setattr(budgets, "add", fail)
    assert spent(process, limit, 6) == 6
    monkeypatch.setattr(budgets, "add", real)
    assert spent(process, limit, 1) == 1
    assert Throttle.objects.get().count == 7
    monkeypatch.setattr(budgets, "add", fail)
    assert spent(process, limit, 9) == 3


def test_an_error_that_nobody_expects_loses_no_count(monkeypatch):
    def fail(times: Any) -> Any:
        raise RuntimeError

    limit, process = Limit("mails", "user:7", 3, SECONDS), Tallies()
    monkeypatch.setattr(budgets, "add", fail)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            process.spend([limit])
    assert spent(process, limit, 1) == 0


def test_a_process_remembers_a_bounded_number_of_callers(monkeypatch):
    monkeypatch.setattr(budgets, "_REMEMBERED", 10)
    process = Tallies()
    for number in range(30):
        process.spend([Limit("reads", f"address {number}", 500, SECONDS)])
    assert [limit.what for limit in process._tallies] == [f"address {number}" for number in range(20, 30)]


def test_the_counters_hold_no_address_and_no_user(api):
    for _ in range(2):
        api.client.get("/api/docs", **HERE)
    assert re.fullmatch(r"[0-9a-f]{64}", Throttle.objects.get().key)
