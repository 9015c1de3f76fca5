"""The lines that a newcomer copies, as they stand, through a shell, on a fresh database."""

import json
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from platform_core.topology import SERVICES
from tests.e2e.stack import PATIENCE, Stack, eventually, ports_in, temporary_stack

USER_LINE = (
    'curl -X POST http://localhost:8001/api/users -H "Content-Type: application/json" '
    """-d '{"name": "John Doe", "email": "john@example.com"}'"""
)
PRODUCT_LINE = (
    'curl -X POST http://localhost:8002/api/products -H "Content-Type: application/json" '
    """-d '{"name": "Laptop", "price": 999.99, "stock": 50}'"""
)
ORDER_LINE = (
    'curl -X POST http://localhost:8003/api/orders -H "Content-Type: application/json" '
    """-d '{"userId": "1", "productId": "1", "quantity": 2}'"""
)
NOTIFICATIONS_LINE = "curl http://localhost:8004/api/notifications/1"
SUMMARY_LINE = "curl http://localhost:8005/api/analytics/summary"


@pytest.fixture
def fresh() -> Iterator[Stack]:
    with temporary_stack() as stack:
        yield stack.up()


def typed(stack: Stack, line: str) -> dict:
    line = ports_in(line, stack.ports)
    assert shlex.split(line)[0] == "curl"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_lines_of_the_quick_start_answer_as_a_user_would_hope(fresh):
    user = typed(fresh, USER_LINE)
    assert (user["id"], user["name"], user["email"]) == ("1", "John Doe", "john@example.com")

    product = typed(fresh, PRODUCT_LINE)
    assert (product["id"], product["price"], product["stock"]) == ("1", 999.99, 50)

    order = typed(fresh, ORDER_LINE)
    assert (order["id"], order["status"], order["total"]) == ("1", "confirmed", 1999.98)

    def confirmation():
        (sent,) = typed(fresh, NOTIFICATIONS_LINE)["results"] or [{}]
        return sent.get("status") == "sent" and sent

    told = eventually("the confirmation is sent", confirmation)
    assert told["type"] == "order_confirmed"
    assert "1" in told["subject"]

    summary = typed(fresh, SUMMARY_LINE)
    assert summary["stale"] == []
    assert summary["users"]["total"] == 1
    assert summary["products"]["stockUnits"] == 48
    assert summary["orders"]["revenue"] == 1999.98

    for service in SERVICES:
        health = typed(fresh, f"curl http://localhost:{service.port}/health")
        assert (health["status"], health["service"]) == ("ok", service.name)
        assert health["mode"] == "development"
