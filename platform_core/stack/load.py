"""``manage.py load``: virtual users who shop on the running platform, and how long they waited.

Each is a thread with a kept-alive connection to each service, and does one thing after the other without a pause: what
is measured is how much the platform bears, not how people behave. They come in first, which is measured apart, for a
password costs more than all else; shopping begins when all are in. Times go into buckets (`Histogram`), so a long run
needs no more memory than a short one.
"""

import json
import math
import random
import secrets
import signal
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.live import Live
from rich.table import Table

from platform_core.stack.supervisor import StackError
from platform_core.topology import ORDER, PRODUCT, SERVICES, USER, Service

MIX = {"browse": 40, "search": 15, "order": 25, "read": 15, "cancel": 5}
"""How often each is chosen, in relation to the others."""
SHELF = 20
STOCK = 1_000_000
WORDS = ("load", "lamp", "chair", "table", "mug", "a")
PATIENCE = 30.0
AGAIN_AFTER = 0.2
TOLD_EVERY = 5.0
NO_ANSWER = "no answer"


class Histogram:
    """Counts in buckets that each are 2 % wider than the one before: what is told is at most 1 % off."""

    WIDTH = 1.02
    LEAST = 0.05
    """Milliseconds; what is faster counts as this."""
    BUCKETS = 800  # up to 6 minutes

    def __init__(self) -> None:
        self.counts = [0] * self.BUCKETS
        self.count = 0
        self.most = 0.0

    def add(self, milliseconds: float) -> None:
        steps = math.log(max(milliseconds, self.LEAST) / self.LEAST, self.WIDTH)
        self.counts[min(int(steps), self.BUCKETS - 1)] += 1
        self.count += 1
        self.most = max(self.most, milliseconds)

    def merge(self, other: "Histogram") -> None:
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.count += other.count
        self.most = max(self.most, other.most)

    def percentile(self, percent: float) -> float:
        """Milliseconds within which so many percent were answered; 0 without any."""
        wanted, seen = self.count * percent / 100, 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(self.LEAST * math.pow(self.WIDTH, bucket + 0.5), self.most)
        return 0.0


class Endpoint:
    """What came of the requests to one endpoint."""

    def __init__(self) -> None:
        self.times = Histogram()
        self.outcomes: Counter[str] = Counter()
        """By what an answer that was no success says of itself: ``409 insufficient_stock``, ``no answer``."""
        self.failures = 0

    def as_dict(self, seconds: float) -> dict[str, Any]:
        times = {f"p{percent}": round(self.times.percentile(percent), 2) for percent in (50, 95, 99)}
        return {
            "requests": self.times.count,
            "perSecond": round(self.times.count / seconds, 2),
            "milliseconds": {**times, "max": round(self.times.most, 2)},
            "outcomes": dict(self.outcomes),
            "failures": self.failures,
        }


class Measured:
    """What all users have seen so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.endpoints: dict[str, Endpoint] = {}
        self.remarks: Counter[str] = Counter()
        """What could not be done, and how often."""
        self.began = time.monotonic()
        self.ended = 0.0

    @property
    def seconds(self) -> float:
        return max((self.ended or time.monotonic()) - self.began, 0.001)

    def note(self, name: str, milliseconds: float, outcome: str, *, failed: bool) -> None:
        with self.lock:
            endpoint = self.endpoints.setdefault(name, Endpoint())
            endpoint.times.add(milliseconds)
            if outcome:
                endpoint.outcomes[outcome] += 1
            endpoint.failures += failed

    def remark(self, text: str) -> None:
        with self.lock:
            self.remarks[text] += 1

    def failures(self) -> int:
        return sum(endpoint.failures for endpoint in self.endpoints.values())

    def as_dict(self) -> dict[str, Any]:
        """A copy, while users may go on."""
        with self.lock:
            seconds, total = self.seconds, Endpoint()
            for endpoint in self.endpoints.values():
                total.times.merge(endpoint.times)
                total.outcomes.update(endpoint.outcomes)
                total.failures += endpoint.failures
            each = {name: endpoint.as_dict(seconds) for name, endpoint in sorted(self.endpoints.items())}
            return {
                "seconds": round(seconds, 2),
                "total": total.as_dict(seconds),
                "endpoints": each,
                "remarks": dict(self.remarks),
            }


class Answer:
    """What a client sees of an answer; ``status`` 0 when there was none."""

    def __init__(self, response: requests.Response | None) -> None:
        self.status = response.status_code if response is not None else 0
        self.is_deliberate = response is not None and "Retry-After" in response.headers
        self.body: Any = None
        try:
            self.body = response.json() if response is not None else None
        except ValueError:
            self.is_deliberate = False

    @property
    def outcome(self) -> str:
        """Empty for a success."""
        if not self.status:
            return NO_ANSWER
        if self.status < 400:
            return ""
        code = self.body.get("code", "") if isinstance(self.body, dict) else ""
        return f"{self.status} {code}".strip()

    @property
    def failed(self) -> bool:
        """No answer, or a 5xx but the 503 with which a service says that it has enough to do, or a peer is away."""
        return not self.status or (self.status >= 500 and not (self.status == 503 and self.is_deliberate))


class Client:
    """Connections to the services that are kept, with the time of each exchange measured."""

    def __init__(self, values: Mapping[str, Any], measured: Measured | None = None, token: str = "") -> None:
        self.urls = {service.package: values[service.url_variable] for service in SERVICES}
        self.measured = measured
        self.session = requests.Session()
        self.session.trust_env = False
        self.carry(token)

    def carry(self, token: str) -> None:
        self.session.headers.pop("Authorization", None)
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, service: Service, path: str, *, named: str = "", **wanted: Any) -> Answer:
        """``named``: the path's template, under which it is counted."""
        began = time.perf_counter()
        try:
            answer = Answer(self.session.request(method, self.urls[service.package] + path, timeout=PATIENCE, **wanted))
        except requests.RequestException:
            answer = Answer(None)
        if self.measured is not None:
            took = (time.perf_counter() - began) * 1000
            template = f"{service.stem} {method} {named or path.split('?')[0]}"
            self.measured.note(template, took, answer.outcome, failed=answer.failed)
        return answer


class Shop:
    """Where the users meet: they come in, wait until it is open, and go when it is closed."""

    def __init__(self) -> None:
        self.entering, self.shopping = Measured(), Measured()
        self.entered = threading.Semaphore(0)
        self.open, self.closed = threading.Event(), threading.Event()

    def await_entered(self, users: int) -> None:
        for _ in range(users):
            self.entered.acquire()
        self.entering.ended = time.monotonic()

    def begin(self) -> None:
        self.shopping.began = time.monotonic()
        self.open.set()

    def close(self, users: Sequence[threading.Thread]) -> None:
        """What is under way is waited for, and counts."""
        self.closed.set()
        self.open.set()
        until = time.monotonic() + PATIENCE
        for user in users:
            if user.ident is not None:  # an early end leaves some that never began
                user.join(max(0.0, until - time.monotonic()))
        self.shopping.ended = time.monotonic()

    def failures(self) -> int:
        return self.entering.failures() + self.shopping.failures()


class Shopper(threading.Thread):
    """One virtual user: signs up and in, then shops until the shop is closed."""

    def __init__(
        self, client: Client, shop: "Shop", products: Sequence[str], mix: Mapping[str, int], number: int
    ) -> None:
        super().__init__(name=f"user {number}", daemon=True)
        self.client, self.shop, self.products = client, shop, products
        self.actions, self.weights = [getattr(self, name) for name in mix], list(mix.values())
        self.random = random.Random(number)  # noqa: S311  # no secret
        self.email = f"load-{uuid.uuid4().hex}@example.com"
        self.password = secrets.token_urlsafe(12)
        self.user = ""
        self.renew_at = math.inf
        self.orders: deque[str] = deque(maxlen=20)

    def run(self) -> None:
        try:
            self.enter()
        finally:
            self.shop.entered.release()
        self.shop.open.wait()
        self.client.measured = self.shop.shopping
        while not self.shop.closed.is_set():
            if time.monotonic() > self.renew_at:
                self.sign_in()
            answer = self.random.choices(self.actions, self.weights)[0]()
            if answer.status in (0, 429, 503):
                self.shop.closed.wait(AGAIN_AFTER)  # as a client does that means well
        self.client.session.close()

    def enter(self) -> None:
        body = {"name": "Load Test", "email": self.email, "password": self.password}
        answer = self.client.ask("POST", USER, "/api/users", json=body)
        if answer.status == 201:
            self.user = answer.body["id"]
            self.sign_in()
            return
        hint = "; SIGN_UPS_PER_HOUR allows more" if answer.status == 429 else ""
        self.shop.shopping.remark(f"users who could not sign up ({answer.outcome}) and only browsed{hint}")

    def sign_in(self) -> None:
        """In production nothing goes without; in development it does no harm, and is measured, too."""
        answer = self.client.ask("POST", USER, "/api/auth/token", json={"email": self.email, "password": self.password})
        if answer.status == 200:
            self.client.carry(answer.body["access"])
            self.renew_at = time.monotonic() + answer.body["expiresIn"] * 0.8
            return
        self.renew_at = time.monotonic() + 5
        self.shop.shopping.remark(f"sign-ins that failed ({answer.outcome})")

    def browse(self) -> Answer:
        if self.random.random() < 0.5 or not self.products:
            return self.client.ask("GET", PRODUCT, "/api/products?limit=20")
        return self.client.ask(
            "GET", PRODUCT, f"/api/products/{self.random.choice(self.products)}", named="/api/products/{id}"
        )

    def search(self) -> Answer:
        word = self.random.choice(WORDS)
        return self.client.ask("GET", PRODUCT, f"/api/products?search={word}&limit=20", named="/api/products?search=")

    def order(self) -> Answer:
        if not (self.user and self.products):
            return self.browse()
        chosen = self.random.sample(self.products, min(self.random.randint(1, 3), len(self.products)))
        items = [{"productId": product, "quantity": self.random.randint(1, 3)} for product in chosen]
        key = {"Idempotency-Key": uuid.uuid4().hex}
        body = {"userId": self.user, "items": items}
        answer = self.client.ask("POST", ORDER, "/api/orders", json=body, headers=key)
        if answer.status == 201:
            self.orders.append(answer.body["id"])
        return answer

    def read(self) -> Answer:
        if not self.orders:
            return self.browse()
        if self.random.random() < 0.5:
            return self.client.ask("GET", ORDER, f"/api/orders/user/{self.user}", named="/api/orders/user/{id}")
        return self.client.ask("GET", ORDER, f"/api/orders/{self.random.choice(self.orders)}", named="/api/orders/{id}")

    def cancel(self) -> Answer:
        if not self.orders:
            return self.browse()
        order = self.orders.popleft()
        return self.client.ask("POST", ORDER, f"/api/orders/{order}/cancel", named="/api/orders/{id}/cancel")


def fill_shelf(values: Mapping[str, Any], measured: Measured) -> list[str]:
    """Ids of products to order: some of our own with plenty of stock, where we may make them, else what there is.

    Raises StackError.
    """
    client = Client(values, token=values["STAFF_TOKEN"] or "")
    found = client.ask("GET", PRODUCT, "/api/products?search=loadtest&inStock=true&limit=200")
    if found.status != 200:
        raise StackError(f"product-service at {values[PRODUCT.url_variable]} does not answer: {found.outcome}.")
    ours = [product["id"] for product in found.body["results"] if product["stock"] > STOCK // 2]
    for number in range(len(ours), SHELF):
        body = {"name": f"Loadtest {uuid.uuid4().hex[:6]}", "price": 5 + number, "stock": STOCK}
        made = client.ask("POST", PRODUCT, "/api/products", json=body)
        if made.status != 201:
            return ours or _catalog(client, measured, made.outcome)
        ours.append(made.body["id"])
    return ours


def _catalog(client: Client, measured: Measured, why: str) -> list[str]:
    there = client.ask("GET", PRODUCT, "/api/products?inStock=true&limit=200")
    products = [product["id"] for product in there.body["results"]] if there.status == 200 else []
    own = f"products of its own could not be made ({why}); STAFF_TOKEN lets it"
    measured.remark(f"{own}; the shop's were ordered" if products else f"{own}; nothing was ordered")
    return products


@dataclass(slots=True)
class Plan:
    """``mix``: actions of MIX and how often each is chosen in relation to the others."""

    users: int
    seconds: float
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)
    file: Path | None = None


def run(values: Mapping[str, Any], plan: Plan) -> int:
    """Load the platform at the *_SERVICE_URLs. 1 when there was a failure (`Answer.failed`). Raises StackError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console, shop = Console(soft_wrap=True), Shop()
    if plan.file is not None:
        _try_to_write(plan.file)
    products = fill_shelf(values, shop.shopping)
    users = [Shopper(Client(values, shop.entering), shop, products, plan.mix, n) for n in range(plan.users)]
    console.print(f"{plan.users} users sign up and in …", highlight=False)
    try:
        shop.entering.began = time.monotonic()
        for user in users:
            user.start()
        shop.await_entered(plan.users)
        shop.begin()
        _watch(console, shop.shopping, plan)
    except KeyboardInterrupt:
        console.print("Stopped early.")
    finally:
        shop.close(users)
    _tell(console, shop, plan)
    return 1 if shop.failures() else 0


def _try_to_write(file: Path) -> None:
    """Before the run, not after it. Raises StackError."""
    try:
        file.touch()
    except OSError as error:
        raise StackError(f"{file} cannot be written: {error.strerror}.") from None


def _watch(console: Console, measured: Measured, plan: Plan) -> None:
    until = measured.began + plan.seconds
    if console.is_terminal:
        with Live(table(measured.as_dict()), console=console, transient=True, auto_refresh=False) as live:
            for _ in _pauses(until, 0.5):
                live.update(table(measured.as_dict()), refresh=True)
        return
    for _ in _pauses(until, TOLD_EVERY):
        total = measured.as_dict()["total"]
        told = f"{measured.seconds:.0f} s: {total['requests']} requests, {total['failures']} failures"
        console.print(told, highlight=False)


def _pauses(until: float, seconds: float) -> Iterator[None]:
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(seconds, left))
        yield


def table(report: Mapping[str, Any], what: str = "Shopping") -> Table:
    """A report of `Measured.as_dict` as people read it."""
    rows = Table(title=f"{what}: {report['seconds']:.1f} s. Times in milliseconds.", title_justify="left")
    for column in ("endpoint", "requests", "per second", "p50", "p95", "p99", "max", "failures"):
        rows.add_column(column, justify="left" if column == "endpoint" else "right", no_wrap=True)
    for name, endpoint in report["endpoints"].items():
        rows.add_row(name, *_columns(endpoint))
    rows.add_section()
    rows.add_row("all", *_columns(report["total"]))
    return rows


def _columns(endpoint: Mapping[str, Any]) -> list[str]:
    times = [f"{value:.1f}" for value in endpoint["milliseconds"].values()]
    failures = f"[red]{endpoint['failures']}[/]" if endpoint["failures"] else "0"
    return [str(endpoint["requests"]), f"{endpoint['perSecond']:.1f}", *times, failures]


def _tell(console: Console, shop: Shop, plan: Plan) -> None:
    entering = shop.entering.as_dict()
    report = {"users": plan.users, "mix": dict(plan.mix), **shop.shopping.as_dict(), "entering": entering}
    wide = Console(width=max(console.width, 120))
    wide.print(table(entering, "Signing up and in"))
    wide.print(table(report))
    for name, endpoint in [*entering["endpoints"].items(), *report["endpoints"].items()]:
        for outcome, count in sorted(endpoint["outcomes"].items()):
            console.print(f"{count} × {outcome}: {name}", highlight=False)
    for remark, count in report["remarks"].items():
        console.print(f"{count} × {remark}" if count > 1 else remark, style="yellow", highlight=False)
    if plan.file is not None:
        plan.file.write_text(json.dumps(report, indent=2) + "\n")


def mix_of(text: str) -> dict[str, int]:
    """``browse=60,order=40`` → weights; what is not named is not done. Raises ValueError with what was expected."""
    expected = f"weights such as browse=60,order=40, of {', '.join(MIX)}"
    mix: dict[str, int] = {}
    for part in text.split(","):
        name, _, weight = part.strip().partition("=")
        if name not in MIX or not (weight.isascii() and weight.isdigit() and len(weight) < 7):
            raise ValueError(expected)
        mix[name] = int(weight)
    if not any(mix.values()):
        raise ValueError(expected)
    return mix
