"""A job over many orders: its worker is killed in the middle, and still each order moves once and gets one mail."""

import re
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from platform_core.topology import ORDER
from tests.e2e.stack import Stack, eventually, slow

TIMEOUT = 400.0
ORDERS_OF_A_DAY = """
    WITH placed AS (
        INSERT INTO order_svc.order_svc_order (
            user_id, status, customer_name, customer_email, customer_address, total, currency, reason, confirmed_at,
            steps, caller, request_id, traceparent, created_at, updated_at, version
        )
        SELECT 1, 'confirmed', 'Boss', 'boss@example.com', '1 Elm Street', 20, 'USD', '', now(),
               '{}', '', '', '', now(), now(), 2
        FROM generate_series(1, %s) AS n
        RETURNING id
    )
    INSERT INTO order_svc.order_svc_orderline (order_id, product_id, quantity, name, unit_price, subtotal)
    SELECT id, 1, 2, 'Lamp', 10, 20 FROM placed
"""


class Desk:
    """The admin of order-service in a browser without scripts."""

    def __init__(self, stack: Stack, password: str) -> None:
        self.stack, self.session = stack, requests.Session()
        self.session.trust_env = False
        self.session.headers["Referer"] = stack.direct(ORDER, "/admin/")
        self.get("/admin/login/")
        answer = self.post("/admin/login/?next=/admin/", username="boss@example.com", password=password)
        assert "/login" not in answer.url

    def get(self, path: str) -> str:
        answer = self.session.get(self.stack.direct(ORDER, path), timeout=40)
        assert answer.status_code == 200, answer.text[:500]
        return answer.text

    def post(self, path: str, **form: Any) -> requests.Response:
        form["csrfmiddlewaretoken"] = self.session.cookies["order_csrf"]
        answer = self.session.post(self.stack.direct(ORDER, path), data=form, timeout=40)
        assert answer.status_code == 200, answer.text[:500]
        return answer


@pytest.fixture
def crashing(own_stack: Stack) -> Stack:
    return own_stack.up(PLATFORM_FAILPOINTS=str(own_stack.folder))


@pytest.mark.parametrize(("point", "orders"), [("job.item", 200), slow("job.item", 3000), slow("job.item_done", 3000)])
def test_a_job_over_many_orders_survives_its_workers_death(crashing: Stack, point: str, orders: int) -> None:
    made = crashing.run("user_svc", "make_staff", "boss@example.com", "--role", "admin")
    desk = Desk(crashing, made.stdout.split()[-1])
    with psycopg.connect(crashing.database_url(), autocommit=True) as database:
        database.execute(ORDERS_OF_A_DAY, [orders])

        def one(query: str) -> Any:
            return database.execute(query).fetchone()[0]  # type: ignore[index]

        def done() -> int:
            return int(one("SELECT done FROM order_svc.jobs_job"))

        chosen = {"action": "ship", "select_across": "1", "index": "0", "_selected_action": "1"}
        asked = desk.post("/admin/order_svc/order/", **chosen)
        assert f"{orders:,} orders will be marked as shipped." in asked.text
        assert f"{orders:,} mails will be sent" in asked.text
        (page,) = {*re.findall(r"/admin/jobs/job/\d+/change/", asked.url)}
        desk.post(page.replace("change/", "confirm"))
        for after in (orders // 10, orders // 2):
            eventually(f"{after} orders are done", lambda after=after: done() >= after, TIMEOUT)
            trap = Path(crashing.folder, point)
            trap.touch()
            eventually("the worker died", lambda trap=trap: not trap.exists())
        eventually("the job is done", lambda: "data-unfinished" not in desk.get(page), TIMEOUT)
        assert database.execute("SELECT state, done, changed, refused FROM order_svc.jobs_job").fetchall() == [
            ("done", orders, orders, 0)
        ]
        assert database.execute(
            "SELECT status, version, count(*) FROM order_svc.order_svc_order GROUP BY 1, 2"
        ).fetchall() == [("shipped", 3, orders)]
        events = "SELECT count(*), count(DISTINCT subject) FROM order_svc.events_event WHERE type = 'order.shipped'"
        assert database.execute(events).fetchall() == [(orders, orders)]
        mails = """
            SELECT count(*), count(DISTINCT subject) FROM notification_svc.notification_svc_notification
            WHERE type = 'order_shipped' AND status = 'sent' AND attempts = 1
        """
        eventually("one mail for each order", lambda: database.execute(mails).fetchall() == [(orders, orders)], TIMEOUT)
        time.sleep(1)
        assert database.execute(mails).fetchall() == [(orders, orders)]
        assert one("SELECT count(*) FROM order_svc.django_admin_log") == orders
