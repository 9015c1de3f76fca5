"""The four feeds at the other end of the wire, and what happens in the shop."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.wire")
settings.register_profile(
    "suite", max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("suite")

encode = msgspec.json.Encoder(decimal_format="number").encode
SERVICES = ("user-service", "product-service", "order-service", "notification-service")
PRICE = Decimal("19.99")


def today() -> datetime:
    return datetime.now(UTC)


class Feed:
    """A service's events, oldest first; ``step`` may be replaced by a test, ``pending`` counts answers that say so."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.pending = 0
        self.step: Any = self.serve

    def tell(self, type_: str, subject: Any, data: Any) -> None:
        number = len(self.events) + 1
        event = {"specversion": "1.0", "id": f"1-{number}-{number}", "type": type_, "source": "x"}
        self.events.append({**event, "subject": str(subject), "time": today().isoformat(), "data": data})

    def answer(self, request: Any) -> Any:
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.url).query).items()}
        self.asked.append({**query, "requestId": request.headers.get("X-Request-ID", "")})
        return self.step(query)

    def serve(self, query: dict[str, str]) -> Any:
        seen = int(query["lastEventId"].rsplit("-", 1)[1]) if "lastEventId" in query else 0
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        if self.pending:
            self.pending -= 1
            headers["Feed-Pending"] = "true"
        return 200, headers, encode(self.events[seen : seen + int(query["limit"])])


class Shop:
    """What happens, told as the services tell it."""

    def __init__(self) -> None:
        self.feeds = {name: Feed() for name in SERVICES}
        self.users, self.products, self.orders, self.notifications = self.feeds.values()

    def user(self, user_id: int, what: str = "created", version: int = 1, day: int = 0) -> None:
        self.users.tell(f"user.{what}", user_id, {"version": version, "createdAt": at(day), "isActive": True})

    def product(self, product_id: int, what: str = "product.created", version: int = 1, **fields: Any) -> None:
        usual = {"name": f"P{product_id}", "category": "", "price": PRICE, "stock": 100, "createdAt": at(0)}
        self.products.tell(what, product_id, {**usual, "version": version, **fields})

    def order(
        self, order_id: int, status: str = "confirmed", version: int = 2, items: Any = ((11, 2, PRICE),), day: int = 0
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
        self.orders.tell(f"order.{status}", order_id, {**data, "createdAt": at(day), "items": lines})

    def notification(self, notification_id: int, status: str = "sent", version: int = 2, day: int = 0) -> None:
        data = {"version": version, "userId": "1", "type": "x", "channel": "email", "status": status}
        self.notifications.tell(f"notification.{status}", notification_id, {**data, "createdAt": at(day)})


def at(days_ago: int) -> str:
    return (today() - timedelta(days=days_ago)).isoformat().replace("+00:00", "Z")


@pytest.fixture
def shop(peers, settings) -> Shop:
    shop = Shop()
    for name, feed in shop.feeds.items():
        url = re.compile(re.escape(settings.PEER_URLS[name]) + r"/api/events(\?|$)")
        peers.add_callback("GET", url, callback=feed.answer)
    return shop


@pytest.fixture
def report(api):
    """A report's figures, numbers exact."""

    def report(name: str, query: str = "", **headers: str) -> dict[str, Any]:
        answer = api.get(f"/api/analytics/{name}{query}", headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status_code == 200, answer.content
        return dict(json.loads(answer.content, parse_float=Decimal))

    return report
