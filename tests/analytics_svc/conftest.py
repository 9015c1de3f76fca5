"""Fakes of the four feeds, and the history of a shop."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
import pytest

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent
from platform_core.topology import BY_NAME
from tests.servers import answers, serving
from tests.suites import plain_environment

encode = msgspec.json.Encoder(decimal_format="number").encode
SERVICES = ("user-service", "product-service", "order-service", "notification-service")
LISTS = dict(zip(SERVICES, ("/api/users", "/api/products", "/api/orders", "/api/notifications"), strict=True))
KIND_OF = (
    *("user.created", "user.updated", "user.deleted", "product.created", "product.updated", "product.deleted"),
    *("stock.changed", "order.confirmed", "order.cancelled", "order.shipped", "order.delivered", "order.rejected"),
    *("notification.sent", "notification.failed"),
)
PRICE = Decimal("19.99")


def today() -> datetime:
    return datetime.now(UTC)


class Feed:
    """A fake service: its events, oldest first, and its list. Tests may replace ``step``.

    ``pending`` counts the answers that still report pending events. The first ``trimmed`` events have been deleted.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.rows: dict[int, dict[str, Any]] = {}
        self.gone: set[int] = set()
        self.asked: list[dict[str, str]] = []
        self.listed: list[dict[str, str]] = []
        self.pending = 0
        self.listed_while_hiding = False
        self.trimmed = 0
        self.step: Any = self.serve
        self.list_step: Any = self.serve_list

    def tell(self, type_: str, subject: Any, data: Any) -> None:
        number = len(self.events) + 1
        event = {"specversion": "1.0", "id": f"1-{number}-{number}", "type": type_, "source": "x"}
        self.events.append({**event, "subject": str(subject), "time": today().isoformat(), "data": data})
        if type_ in KIND_OF and isinstance(data.get("version"), int) and str(subject).isdigit():
            self._enlist(int(subject), type_.endswith(".deleted"), data)

    def _enlist(self, pk: int, deleted: bool, data: dict[str, Any]) -> None:
        """Sets the resource's row in the list."""
        if deleted:
            self.gone.add(pk)
        if data["version"] > self.rows.get(pk, {"version": 0})["version"]:
            self.rows[pk] = {"id": str(pk), **data}

    def answer(self, request: Any) -> Any:
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.url).query).items()}
        headers = {"requestId": request.headers.get("X-Request-ID"), "consumer": request.headers.get("Feed-Consumer")}
        self.asked.append({**query, **{name: value or "" for name, value in headers.items()}})
        return self.step(query)

    def answer_list(self, request: Any) -> Any:
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.url).query).items()}
        self.listed.append(query)
        self.listed_while_hiding = self.listed_while_hiding or bool(self.pending)
        return self.list_step(query)

    def serve(self, query: dict[str, str]) -> Any:
        seen = int(query["lastEventId"].rsplit("-", 1)[1]) if "lastEventId" in query else self.trimmed
        headers = {"Content-Type": "application/cloudevents-batch+json", "Feed-Position": self.position}
        if self.pending:
            self.pending -= 1
            headers["Feed-Pending"] = "true"
        if seen < self.trimmed:
            return 410, headers, '{"code": "events_expired", "detail": "too late"}'
        return 200, headers, encode(self.events[seen : seen + int(query["limit"])])

    @property
    def position(self) -> str:
        return f"1-{len(self.events)}-{len(self.events)}"

    def serve_list(self, query: dict[str, str]) -> Any:
        """The list, newest first, with all members of the rows but the version."""
        below, limit = int(query.get("cursor", 2**63)), int(query["limit"])
        found = [pk for pk in sorted(self.rows, reverse=True) if pk < below and pk not in self.gone]
        if "status" in query:
            found = [pk for pk in found if self.rows[pk]["status"] == query["status"]]
        rows = [{k: v for k, v in self.rows[pk].items() if k != "version"} for pk in found[:limit]]
        following = f"http://x/api/x?limit={limit}&cursor={found[limit - 1]}" if len(found) > limit else None
        return 200, {}, encode({"results": rows, "next": following, "previous": None})


class Shop:
    """Writes the events that the services would write."""

    def __init__(self) -> None:
        self.feeds = {name: Feed() for name in SERVICES}
        self.users, self.products, self.orders, self.notifications = self.feeds.values()

    def user(self, user_id: int, what: str = "created", version: int = 1, day: int = 0) -> None:
        self.users.tell(f"user.{what}", user_id, {"version": version, "createdAt": at(day), "isActive": True})

    def product(self, product_id: int, what: str = "product.created", version: int = 1, **fields: Any) -> None:
        usual = {"name": f"P{product_id}", "category": "", "price": PRICE, "stock": 100, "createdAt": at(0)}
        self.products.tell(what, product_id, {**usual, "version": version, **fields})

    def order(
        self,
        order_id: int,
        status: str = "confirmed",
        version: int = 2,
        items: Any = ((11, 2, PRICE),),
        day: int = 0,
        **others: Any,
    ) -> None:
        lines = [
            {
                "productId": str(product),
                "name": f"P{product}",
                "quantity": number,
                "unitPrice": price,
                "subtotal": number * price,
            }
            for product, number, price in items
        ]
        total = sum((number * price for _, number, price in items), Decimal(0))
        data = {"version": version, "userId": "1", "status": status, "total": total, "currency": "USD"}
        self.orders.tell(f"order.{status}", order_id, {**data, "createdAt": at(day), "items": lines, **others})

    def notification(self, notification_id: int, status: str = "sent", version: int = 2, day: int = 0) -> None:
        data = {"version": version, "userId": "1", "type": "x", "channel": "email", "status": status}
        self.notifications.tell(f"notification.{status}", notification_id, {**data, "createdAt": at(day)})


def at(days_ago: int) -> str:
    return (today() - timedelta(days=days_ago)).isoformat().replace("+00:00", "Z")


@pytest.fixture
def shop(peers, settings) -> Shop:
    shop = Shop()
    for name, feed in shop.feeds.items():
        url = re.escape(settings.PEER_URLS[name])
        peers.add_callback("GET", re.compile(url + r"/api/events(\?|$)"), callback=feed.answer)
        peers.add_callback("GET", re.compile(url + LISTS[name] + r"(\?|$)"), callback=feed.answer_list)
    return shop


@pytest.fixture
def wired(settings, monkeypatch) -> Iterator[Shop]:
    """The same, served by real servers for other processes."""
    shop = Shop()
    with ExitStack() as stack:
        for name, feed in shop.feeds.items():
            server = stack.enter_context(serving())
            server.will(_over_http(feed))
            monkeypatch.setitem(settings.PEER_URLS, name, server.url)
        yield shop


def _over_http(feed: Feed) -> Any:
    def answering(wire: Any, request: Any) -> Any:
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.path).query).items()}
        is_feed = request.path.startswith("/api/events")
        status, headers, body = feed.step(query) if is_feed else feed.list_step(query)
        return answers(body if isinstance(body, bytes) else body.encode(), status, headers)(wire, request)

    return answering


class Child:
    """Another process of analytics-service on the same database and peers. It can be killed."""

    def __init__(self, code: str, folder: Path) -> None:
        from django.conf import settings
        from django.db import connection

        place = connection.get_connection_params()
        names = ("user", "password", "host", "port", "dbname")
        values = {**plain_environment(), **{BY_NAME[n].url_variable: url for n, url in settings.PEER_URLS.items()}}
        values["ANALYTICS_DATABASE_URL"] = "postgresql:///?" + urlencode({n: place[n] for n in names if place.get(n)})
        values["ANALYTICS_DATABASE_URL"] = values["ANALYTICS_DATABASE_URL"].replace(
            "postgresql:///?", f"postgresql:///{place['dbname']}?"
        )
        values |= {"DJANGO_SETTINGS_MODULE": "analytics_svc.settings", "PLATFORM_FAILPOINTS": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import django; django.setup()\n" + code],
            cwd=ROOT,
            env=values,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self, seconds: float = 60) -> tuple[int, str]:
        """Returns its exit code and output."""
        said, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, said.decode()


@pytest.fixture
def child(tmp_path, db) -> Iterator[Any]:
    children: list[Child] = []

    def child(code: str) -> Child:
        children.append(Child(code, tmp_path))
        return children[-1]

    yield child
    for each in children:
        if each.process.poll() is None:
            each.kill()


@pytest.fixture
def report(api):
    """A report with exact numbers."""

    def report(name: str, query: str = "", **headers: str) -> dict[str, Any]:
        answer = api.get(f"/api/analytics/{name}{query}", headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status_code == 200, answer.content
        return dict(json.loads(answer.content, parse_float=Decimal))

    return report
