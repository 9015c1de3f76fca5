"""What the platform logs: one id in all services, the documented fields, and the console format on a terminal."""

import json
import os
import pty
import re
import subprocess
from typing import Any

import psycopg
import pytest

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, SERVICES, USER
from tests.e2e.stack import TIMEOUT, Shop, Stack, eventually

WHEN_KNOWN = {"caller", "user"}


def lines(stack: Stack, request_id: str) -> list[dict[str, Any]]:
    found = [line for line in stack.said().splitlines() if line.startswith("{") and request_id in line]
    return [line for line in map(json.loads, found) if line.get("requestId") == request_id]


def order(stack: Stack, user: str, product: str, request_id: str) -> None:
    body = {"userId": user, "productId": product, "quantity": 1}
    made = Shop(stack).ask("POST", ORDER, "/api/orders", json=body, headers={"X-Request-ID": request_id})
    assert made.status_code == 201, made.text


def test_an_orders_request_id_is_in_the_logs_of_all_services_involved(stack, user, product):
    order(stack, user["id"], product["id"], "one-order-through-all")

    def workers() -> set[tuple[str, str]]:
        return {(line["service"], line["event"]) for line in lines(stack, "one-order-through-all")}

    expected = {(service.name, "request") for service in (USER, PRODUCT, ORDER, NOTIFICATION)}
    expected |= {(service.name, "outbox.delivered") for service in (ORDER, NOTIFICATION)}
    eventually("a line of each web, and of both workers", lambda: expected <= workers())


def documented(event: str) -> set[str]:
    """The fields that the table of docs/operations.md gives for a line."""
    page = (ROOT / "docs" / "operations.md").read_text()
    (table,) = re.findall(rf"Fields of {event}:\n\n((?:\|.*\n)+)", page)
    return set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))


def test_the_line_of_a_request_has_the_documented_fields_and_no_others(stack, user, product):
    order(stack, user["id"], product["id"], "the-fields-of-a-line")
    found = eventually("the line", lambda: [one for one in lines(stack, "the-fields-of-a-line") if "route" in one])
    fields = documented("every line") | documented("a request")
    for line in found:
        assert line.keys() <= fields
        assert fields - line.keys() <= WHEN_KNOWN | {"exception"}


@pytest.mark.nightly
def test_log_level_silences_what_is_less_severe(own_stack):
    own_stack.up(LOG_LEVEL="error")
    Shop(own_stack).get(USER, "/api/users")
    assert '"event"' not in own_stack.said()


@pytest.mark.nightly
def test_logs_of_one_service_include_warnings_of_the_others(own_stack):
    own_stack.options = ("--only", "order,user-service")
    own_stack.up()
    for service in SERVICES:
        Shop(own_stack).ask("GET", service, "/api/nothing-here")

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in own_stack.said().splitlines() if line.startswith("{")]

    assert {line["service"] for line in lines() if line["event"] == "request"} == {ORDER.name, USER.name}
    with psycopg.connect(own_stack.database_url(), autocommit=True) as connection:
        for service in SERVICES:
            connection.execute(f"ALTER ROLE {service.role} NOLOGIN".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for path in ("/api/users", "/api/products", "/api/orders", "/api/notifications", "/api/analytics/summary"):
        (service,) = (each for each in SERVICES if each.stem in path)
        assert Shop(own_stack).ask("GET", service, path).status_code == 503
    warned = {service.name for service in SERVICES}
    eventually("a warning of each", lambda: {line["service"] for line in lines() if line["level"] == "warn"} == warned)


def test_an_unknown_service_is_refused_with_the_known_ones(own_stack):
    done = own_stack.run("up", "--only", "order,billing")
    assert done.returncode == 2
    assert "found 'billing'" in done.stderr
    assert "user, product, order, notification, analytics" in done.stderr


@pytest.fixture
def terminal(own_stack):
    """What `up` shows on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        own_stack.command("up"),
        cwd=ROOT,
        env={**own_stack.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=die_with_parent,
    )
    own_stack.process = process
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = bytearray()

    def read() -> str:
        try:
            while more := os.read(ours, 65536):
                shown.extend(more)
        except OSError:
            pass  # nothing now, or it has ended
        return shown.decode(errors="replace")

    yield read
    process.terminate()
    eventually("its end", lambda: read() and process.poll() is not None, TIMEOUT)
    os.close(ours)


@pytest.mark.nightly
def test_logs_on_a_terminal_use_the_console_format(own_stack, terminal):
    eventually("ready", lambda: "Ready in" in terminal(), TIMEOUT)
    Shop(own_stack).ask("GET", USER, "/api/users?limit=1", headers={"X-Request-ID": "seen-by-people"})
    eventually("the request's line", lambda: "seen-by-people" in terminal())
    (line,) = (line for line in terminal().splitlines() if "seen-by-people" in line)
    assert "\x1b[36muser-service" in line
    assert re.search(r"GET /api/users 200 [\d.]+ ms", line)
    assert '{"' not in line
