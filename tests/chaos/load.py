"""Clients that order, cancel, repeat and adjust, and record the promises of the responses."""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from platform_core.topology import ORDER, PRODUCT, USER, Service
from tests.e2e.stack import Shop, Stack, eventually

DEFINITE = (200, 201, 404, 422)
LASTING = {"confirmed": {"confirmed", "cancelled", "shipped"}, "cancelled": {"cancelled"}, "shipped": {"shipped"}}
"""Status in a response → statuses that the order may have afterwards."""
CLIENTS = 12
STOCK = 300
TRIES = 60
TIMEOUT = 15.0
"""Far beyond the deadline of a request, so that a late answer is seen and not given up."""


@dataclass(slots=True)
class Promised:
    """The promises of the responses, to be compared with the final data."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    figures: Counter[str] = field(default_factory=Counter)
    orders: dict[str, str] = field(default_factory=dict)
    """Order id → the last status in a response."""
    doubled: list[str] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    adjusted: Counter[str] = field(default_factory=Counter)
    """Product id → pieces that adjustments have added."""
    uncertain: set[str] = field(default_factory=set)
    """Products with adjustments of unknown outcome."""

    longest: float = 0.0
    """Seconds that the slowest answer took."""

    def count(self, name: str) -> None:
        with self.lock:
            self.figures[name] += 1

    def took(self, seconds: float) -> None:
        with self.lock:
            self.longest = max(self.longest, seconds)


class Client(threading.Thread):
    """A customer that sometimes also adjusts stock."""

    rest = (0.0, 0.0)
    """Seconds between two actions, at least and at most."""

    def __init__(
        self, stack: Stack, users: list[str], products: list[str], promised: Promised, seed: int, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.stack, self.users, self.products, self.promised, self.stop_event = stack, users, products, promised, stop
        self.random = random.Random(seed)
        self.session = requests.Session()
        self.session.trust_env = False
        self.placed: list[tuple[str, str, dict[str, Any]]] = []

    def run(self) -> None:
        actions = self.actions()
        while not self.stop_event.wait(self.random.uniform(*self.rest)):
            self.random.choice(actions)()

    def actions(self) -> list[Callable[[], None]]:
        """What the client does. One that is listed twice is done twice as often."""
        return [self.order] * 6 + [self.cancel] * 2 + [self.repeat] * 2 + [self.adjust] * 2 + [self.ship]

    def order(self) -> None:
        chosen = self.random.sample(self.products, self.random.randint(1, 3))
        items = [{"productId": product, "quantity": self.random.randint(1, 4)} for product in chosen]
        body = {"userId": self.random.choice(self.users), "items": items}
        key = uuid.UUID(int=self.random.getrandbits(128)).hex
        answer = self.insist(ORDER, "/api/orders", body, key)
        if answer is not None and answer.status_code == 201:
            order_id = answer.json()["id"]
            self.placed.append((key, order_id, body))
            with self.promised.lock:
                self.promised.orders.setdefault(order_id, "confirmed")
            self.promised.count("orders confirmed")

    def repeat(self) -> None:
        """Repeats a request long after its response."""
        if not self.placed:
            return
        key, order_id, body = self.random.choice(self.placed)
        answer = self.insist(ORDER, "/api/orders", body, key)
        if answer is None:
            return
        self.promised.count("repeats")
        if answer.status_code != 201 or answer.json()["id"] != order_id:
            with self.promised.lock:
                self.promised.doubled.append(
                    f"key {key}: first {order_id}, then {answer.status_code} {answer.text[:200]}"
                )

    def cancel(self) -> None:
        self.move("cancel", "cancelled")

    def ship(self) -> None:
        self.move("ship", "shipped")

    def move(self, action: str, state: str) -> None:
        if not self.placed:
            return
        _, order_id, _ = self.random.choice(self.placed)
        answer = self.insist(ORDER, f"/api/orders/{order_id}/{action}", None, None)
        if answer is not None and answer.status_code == 200:
            with self.promised.lock:
                self.promised.orders[order_id] = state
            self.promised.count(f"orders {state}")

    def adjust(self) -> None:
        product, delta = self.random.choice(self.products), self.random.choice([-2, -1, 5, 10])
        key = uuid.UUID(int=self.random.getrandbits(128)).hex
        answer = self.insist(PRODUCT, f"/api/products/{product}/stock-adjustments", {"delta": delta}, key)
        with self.promised.lock:
            if answer is None:
                self.promised.uncertain.add(product)
            elif answer.status_code == 201:
                self.promised.adjusted[product] += delta
                self.promised.figures["adjustments"] += 1

    def insist(self, service: Service, path: str, body: Any, key: str | None) -> requests.Response | None:
        """Repeats a request until the response is definite. Returns None if it never is."""
        headers = {"Idempotency-Key": key} if key else {}
        for attempt in range(TRIES):
            answer = None
            began = time.monotonic()
            try:
                answer = self.session.post(self.url(service, path), json=body, headers=headers, timeout=TIMEOUT)
            except requests.RequestException:
                self.promised.count("requests without an answer")
            else:
                self.promised.took(time.monotonic() - began)
                self.promised.count(f"answers {answer.status_code}")
                if answer.status_code in DEFINITE or (answer.status_code == 409 and not _comes_again(answer)):
                    return answer
            if attempt:
                self.promised.count("retries of clients")
            self.failed(f"{service.name} {path} {key}", attempt, answer)
            time.sleep(self.pause(answer))
        return None

    def url(self, service: Service, path: str) -> str:
        return self.stack.direct(service, path)

    def failed(self, what: str, attempt: int, answer: requests.Response | None) -> None:
        """Called for each request that is going to be repeated. ``attempt`` counts from 0."""

    def pause(self, answer: requests.Response | None) -> float:
        """Seconds until a request is repeated."""
        return self.random.uniform(0.02, 0.3)


def _comes_again(answer: requests.Response) -> bool:
    return bool(answer.json().get("code") == "idempotency_in_progress")


def customers(
    stack: Stack,
    promised: Promised,
    seed: int,
    stop: threading.Event,
    kind: type[Client] = Client,
    number: int = CLIENTS,
) -> list[Client]:
    """Clients, not started yet, of a shop that has a few users and products of theirs."""
    shop, name = Shop(stack), uuid.uuid4().hex
    users = [shop.made(USER, "/api/users", name="Ann", email=f"{name}{n}@example.com")["id"] for n in range(5)]
    products = [shop.made(PRODUCT, "/api/products", name=f"Thing {n}", price=7, stock=STOCK)["id"] for n in range(6)]
    promised.products = products
    return [kind(stack, users, products, promised, seed * 1000 + n, stop) for n in range(number)]


def check_promises(stack: Stack, promised: Promised) -> None:
    """Asserts that every confirmed order exists once and that every adjustment counts once."""
    shop = Shop(stack)
    assert promised.doubled == []
    assert promised.orders, "nothing was ordered"
    for order_id, state in promised.orders.items():
        assert shop.get(ORDER, f"/api/orders/{order_id}")["status"] in LASTING[state], order_id
    held = _held(shop)
    for product in set(promised.products) - promised.uncertain:
        expected = STOCK + promised.adjusted[product] - held[product]
        # The last releases may still wait, because their pauses grew while the peer did not answer.
        eventually(
            f"product {product} has {expected}",
            lambda p=product, n=expected: shop.get(PRODUCT, f"/api/products/{p}")["stock"] == n,
            timeout=60,
        )


def _held(shop: Shop) -> Counter[str]:
    """Pieces in live orders, by product."""
    held: Counter[str] = Counter()
    path = "/api/orders?limit=200"
    while path:
        page = shop.get(ORDER, path)
        for order in page["results"]:
            if order["status"] in ("confirmed", "shipped", "delivered"):
                held.update({item["productId"]: item["quantity"] for item in order["items"]})
        path = page["next"] and "/api/orders?" + page["next"].split("?", 1)[1]
    return held
