"""Sign-up, a new address and a lost password by mail, through the workers of user- and notification-service."""

import re

import psycopg
import pytest

from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from tests.e2e.stack import Shop, Stack, eventually

PASSWORD, NEW = "planted-password-7Qx", "another-password-8Rz"


@pytest.fixture
def verifying(own_stack: Stack) -> Stack:
    return own_stack.up(EMAIL_VERIFICATION="on", ACCOUNT_LINKS_URL="https://shop.example.com")


def link_in(stack: Stack, page: str, count: int = 1) -> str:
    """The token of the newest mailed link to the page, once ``count`` were mailed."""
    pattern = re.compile(rf"https://shop\.example\.com/{page}#token=(\S+)")

    def found() -> str:
        tokens = pattern.findall(stack.said())
        return tokens[-1] if len(tokens) == count else ""

    return str(eventually(f"mail {count} with a link to {page}", found))


def stored(stack: Stack) -> str:
    """All rows of all tables of the platform as text."""
    with psycopg.connect(stack.database_url()) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname LIKE '%\\_svc'"
        ).fetchall()
        rows = [connection.execute(f"SELECT t::text FROM {table} t").fetchall() for (table,) in tables]
    return "\n".join(text for each in rows for (text,) in each)


def test_an_account_begins_moves_and_is_recovered_by_mail(verifying):
    shop = Shop(verifying)
    body = {"name": "Ann", "email": "ann@example.com", "password": PASSWORD}
    answer = shop.ask("POST", USER, "/api/users", json=body)
    assert (answer.status_code, answer.content) == (202, b"")
    first = link_in(verifying, "verify-email")
    assert shop.ask("POST", USER, "/api/auth/verify-email", json={"token": first}).status_code == 204
    (ann,) = shop.get(USER, "/api/users?email=ann@example.com")["results"]

    pair = shop.ask("POST", USER, "/api/auth/token", json={"email": "ann@example.com", "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {pair['access']}"}
    path = f"/api/users/{ann['id']}"
    changed = shop.ask("PATCH", USER, path, json={"email": "ann@example.org"}, headers=headers).json()
    assert (changed["email"], changed["pendingEmail"]) == ("ann@example.com", "ann@example.org")
    second = link_in(verifying, "verify-email", 2)
    assert shop.ask("POST", USER, "/api/auth/verify-email", json={"token": second}).status_code == 204
    assert shop.get(USER, path)["email"] == "ann@example.org"

    lamp = shop.made(PRODUCT, "/api/products", name="Lamp", price="5", stock=3)
    shop.made(ORDER, "/api/orders", userId=ann["id"], productId=lamp["id"], quantity=1)
    eventually("the confirmation is sent", lambda: _states(shop, ann["id"]).get("order_confirmed") == "sent")

    assert shop.ask("POST", USER, "/api/auth/password-reset", json={"email": "ann@example.org"}).status_code == 202
    third = link_in(verifying, "reset-password")
    confirmation = {"token": third, "password": NEW}
    assert shop.ask("POST", USER, "/api/auth/password-reset/confirm", json=confirmation).status_code == 204
    assert shop.ask("GET", USER, path, headers=headers).status_code == 401, "the session has ended"
    credentials = {"email": "ann@example.org", "password": NEW}
    assert shop.ask("POST", USER, "/api/auth/token", json=credentials).status_code == 200

    eventually("all mails are sent", lambda: set(_states(shop, ann["id"]).values()) == {"sent"})
    rows, answers = stored(verifying), shop.ask("GET", NOTIFICATION, f"/api/notifications/{ann['id']}").text
    assert "ann@example.org" in rows
    for token in (first, second, third):
        assert token not in rows + answers
        assert verifying.said().count(token) == 1, "in the mail alone, which is printed"


def _states(shop: Shop, user_id: str) -> dict[str, str]:
    found = shop.get(NOTIFICATION, f"/api/notifications/{user_id}")["results"]
    return {each["type"]: each["status"] for each in found}
