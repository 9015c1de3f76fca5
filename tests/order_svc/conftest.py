"""Fakes of user-service and product-service at the transport, and two products."""

import json
import re
import threading
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.utils.timezone import now

ANN, BOB, NOBODY = 1, 2, 404
LAMP, DESK, NOTHING = 11, 22, 404
PROBLEM = {"Content-Type": "application/problem+json"}


def problem(status: int, code: str, errors: Any = ()) -> tuple[int, dict[str, str], str]:
    body = {"type": "about:blank", "title": "x", "status": status, "detail": f"It is {code}.", "code": code}
    return status, PROBLEM, json.dumps({**body, "requestId": "x", "errors": list(errors)})


class Neighbours:
    """The data of the fake peers, and the requests they got. Tests may replace ``user_step`` and ``product_step``."""

    def __init__(self) -> None:
        self.users = {ANN, BOB}
        self.profile = {"name": "Ann", "email": "ann@example.com", "address": "1 Elm Street"}
        self.disabled: set[int] = set()
        self.catalog: dict[int, tuple[str, str]] = {LAMP: ("Lamp", "19.99"), DESK: ("Desk", "250")}
        self.stock: dict[int, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.received: list[Any] = []
        self.user_step: Any = self.know_user
        self.product_step: Any = self.reserve
        self.lock = threading.Lock()

    def user(self, request: Any) -> Any:
        return self._answer(request, self.user_step)

    def product(self, request: Any) -> Any:
        return self._answer(request, self.product_step)

    def _answer(self, request: Any, step: Any) -> Any:
        with self.lock:
            self.asked.append((request.method, request.path_url))
            self.received.append(request)
        return step(request)

    def know_user(self, request: Any) -> Any:
        user_id = int(request.path_url.split("/")[-1])
        if user_id not in self.users:
            return problem(404, "not_found")
        user = {"id": str(user_id), **self.profile, "phone": ""}
        return 200, {}, json.dumps({**user, "isActive": user_id not in self.disabled})

    def reserve(self, request: Any) -> Any:
        items = [(int(item["productId"]), item["quantity"]) for item in json.loads(request.body)["items"]]
        unknown = [n for n, (product, _) in enumerate(items) if product not in self.catalog]
        if unknown:
            errors = [
                {"field": f"items[{n}]", "code": "unknown_product", "detail": "No.", "productId": str(items[n][0])}
                for n in unknown
            ]
            return problem(422, "unknown_product", errors)
        short = [
            {"field": f"items[{n}]", "code": "insufficient_stock", "detail": "Too few.", "productId": str(product)}
            | {"requested": quantity, "available": self.stock[product]}
            for n, (product, quantity) in enumerate(items)
            if quantity > self.stock.get(product, 10**9)
        ]
        if short:
            return problem(409, "insufficient_stock", short)
        return 201, {}, self.reservation(request.path_url.split("/")[-1], items)

    def reservation(self, order_id: str, items: Any) -> str:
        lines = []
        for product, quantity in items:
            name, price = self.catalog[product]
            fields = f'"productId": "{product}", "name": {json.dumps(name)}, "unitPrice": {price}'
            lines.append(f'{{{fields}, "quantity": {quantity}}}')
        return f'{{"orderId": "{order_id}", "status": "reserved", "items": [{", ".join(lines)}]}}'


@pytest.fixture
def neighbours(peers, settings) -> Neighbours:
    shop = Neighbours()
    users, products = settings.PEER_URLS["user-service"], settings.PEER_URLS["product-service"]
    peers.add_callback("GET", re.compile(re.escape(users) + r"/api/users/\d+$"), callback=shop.user)
    reservations = re.compile(re.escape(products) + r"/api/stock-reservations/\d+$")
    peers.add_callback("PUT", reservations, callback=shop.product)
    return shop


@pytest.fixture(autouse=True)
def looked_at_the_server(monkeypatch):
    """The server was looked at a moment ago, so that the number of queries does not depend on the time."""
    from platform_core.events import history

    monkeypatch.setattr(history, "LOOK_EVERY", float("inf"))
    monkeypatch.setattr(history._Known, "looked_at", 0.0)
    monkeypatch.setattr(history._Known, "looked_after", history._Known.newest_connection)


def raising(error: Exception) -> Any:
    def step(request: Any) -> Any:
        raise error

    return step


def saying(status: int, body: str, **headers: str) -> Any:
    return lambda request: (status, headers, body)


HTML = {"Content-Type": "text/html"}
FAILURES = {
    "nobody listens": raising(requests.exceptions.ConnectionError("refused")),
    "no answer in time": raising(requests.exceptions.ReadTimeout("Read timed out.")),
    "half an answer": raising(requests.exceptions.ChunkedEncodingError("broken")),
    "500": lambda request: problem(500, "internal_error"),
    "503": lambda request: problem(503, "unavailable"),
    "503 past its deadline": lambda request: problem(503, "deadline_exceeded"),
    "429": lambda request: problem(429, "throttled"),
    "401": lambda request: problem(401, "not_authenticated"),
    "403": lambda request: problem(403, "permission_denied"),
    "400": lambda request: problem(400, "invalid"),
    "502 in HTML": lambda request: (502, HTML, "<html>Bad Gateway</html>"),
    "404 in HTML": lambda request: (404, HTML, "<html>Not Found</html>"),
    "200 in HTML": lambda request: (200, HTML, "<html>Welcome</html>"),
    "garbage": saying(200, "\x00\x01garbage"),
    "nothing": saying(200, ""),
    "another shape": saying(200, '{"id": 1, "items": {}}'),
    "a list": saying(200, "[]"),
    "a redirect": lambda request: (302, {"Location": "/elsewhere"}, ""),
}


@pytest.fixture
def place(api, neighbours):
    """Places an order and returns the response."""

    def place(body: Any = None, key: str | None = None, **fields: Any) -> Any:
        wanted = {"userId": ANN, "productId": LAMP, "quantity": 2} if body is None else body
        return api.post(
            "/api/orders", {**wanted, **fields} if fields else wanted, headers={"Idempotency-Key": key} if key else None
        )

    return place


@pytest.fixture
def placed(place) -> dict[str, Any]:
    """A confirmed order."""
    answer = place()
    assert answer.status_code == 201, answer.content
    order: dict[str, Any] = answer.json()
    return order


@pytest.fixture
def order_in(place):
    """Creates an order in any status."""
    from order_svc.models import Order

    def make(status: str, **changes: Any) -> Order:
        pk = place().json()["id"]
        unpriced = {"total": None, "confirmed_at": None} if status in ("pending", "rejected") else {}
        Order.objects.filter(pk=pk).update(status=status, **unpriced, **changes)
        order: Order = Order.objects.get(pk=pk)
        forget()
        return order

    return make


def recover_what_is_pending() -> None:
    """Runs recovery as if a minute had passed."""
    from order_svc import tasks
    from order_svc.models import Order

    Order.objects.update(created_at=now() - timedelta(minutes=2))
    tasks.recover(threading.Event())


def forget() -> None:
    """Deletes all events and messages so far."""
    from platform_core.events.models import Event
    from platform_core.outbox.models import OutboxMessage

    Event.objects.all().delete()
    OutboxMessage.objects.all().delete()


def left_behind() -> tuple[list[str], list[str]]:
    """The types of the events and the keys of the messages, in order."""
    from platform_core.events.models import Event
    from platform_core.outbox.models import OutboxMessage

    events = list(Event.objects.order_by("id").values_list("type", flat=True))
    return events, list(OutboxMessage.objects.order_by("id").values_list("key", flat=True))


SILENT = raising(requests.exceptions.ConnectionError("refused"))


class Afterwards:
    """The peers' records of a placed order. Tests may change ``held`` and ``notices`` and replace the steps."""

    def __init__(self):
        self.held = "reserved"
        self.notices = {}
        self.asked = []
        self.product_step, self.notification_step = self.show_reservation, self.find

    def product(self, request):
        return self.answer(request, self.product_step)

    def notification(self, request):
        return self.answer(request, self.notification_step)

    def answer(self, request, step):
        self.asked.append(request)
        return step(request)

    def show_reservation(self, request):
        if self.held is None:
            return problem(404, "not_found")
        items = [{"productId": str(LAMP), "name": "Lamp", "unitPrice": 19.99, "quantity": 2}]
        order_id = request.path_url.split("/")[-1]
        return 200, {}, json.dumps({"orderId": order_id, "status": self.held, "items": items})

    def find(self, request):
        (key,) = parse_qs(urlsplit(request.url).query)["senderKey"]
        found = [self.notices[key]] if key in self.notices else []
        return 200, {}, json.dumps({"results": found, "next": None, "previous": None})

    def mailed(self, order, what="confirmed", status="sent", attempts=1, error=None, after=0.2):
        """Stores a message in notification-service, sent the given seconds after it was written."""
        from platform_core.outbox.models import OutboxMessage

        created = now()
        OutboxMessage.objects.filter(key=f"order-{order['id']}-{what}").update(
            state="delivered", attempts=1, delivered_at=created
        )
        sent_at = created + timedelta(seconds=after) if status == "sent" else None
        times = {"createdAt": created.isoformat(), "sentAt": sent_at and sent_at.isoformat()}
        note = {"id": "5", "channel": "email", "status": status, "attempts": attempts, "lastError": error, **times}
        self.notices[f"order-{order['id']}-{what}"] = note | {"recipient": "ann@example.com", "subject": "x"}


@pytest.fixture
def afterwards(neighbours, peers, settings):
    found = Afterwards()
    at = {name: re.escape(url) for name, url in settings.PEER_URLS.items()}
    peers.add_callback("GET", re.compile(at["product-service"] + r"/api/stock-reservations/\d+$"), found.product)
    peers.add_callback("GET", re.compile(at["notification-service"] + r"/api/notifications\?"), found.notification)
    return found


@pytest.fixture
def explained(api, afterwards):
    def ask(order):
        answer = api.get(f"/api/orders/{order['id'] if isinstance(order, dict) else order.pk}/explain")
        assert answer.status_code == 200, answer.content
        return answer.json()

    return ask


@pytest.fixture(name="page")
def order_page(client, afterwards):
    def get(order, query=""):
        pk = order["id"] if isinstance(order, dict) else order.pk
        answer = client.get(f"/orders/{pk}/explain{query}", headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.content
        bar = r"<link[^>]*/bar\.css.*?</details>\s*</div>"  # tested on its own
        return re.sub(bar, "", answer.content.decode(), flags=re.DOTALL)

    return get


@pytest.fixture
def press(client, afterwards):
    """Presses a button of the page in an anonymous browser. Returns what the next page says about it."""

    def press(order, operation):
        pk = order["id"] if isinstance(order, dict) else order.pk
        path, headers = f"/orders/{pk}/explain", {"Accept": "text/html"}
        answer = client.post(f"{path}/{operation}", {"csrfmiddlewaretoken": "x"}, headers=headers)
        assert (answer.status_code, answer["Location"]) == (303, path), answer.content
        return "".join(re.findall(r'role="status">([^<]+)<', client.get(path, headers=headers).content.decode()))

    return press
