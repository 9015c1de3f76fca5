"""Clients that repeat a request once, and the judge of what they were promised."""

import re
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests

from platform_core.topology import ORDER, PRODUCT, USER, Service
from tests.chaos.load import TIMEOUT, Client, Promised, check_promises, customers
from tests.cluster.balancing import Named, named
from tests.cluster.hosts import Cluster
from tests.e2e.stack import Shop, eventually
from tests.mail_servers import MailServer

CLIENTS = 6
PLENTY = 2_000_000
AT_ONCE = 4
"""Mails that a worker sends at once."""
SUBJECT = re.compile(r"^Subject: Order ([0-9]+) is confirmed", re.M)
MAIL_SECONDS = 360.0
"""A mail whose worker was lost with it in hand comes after the lease and a pause, which may have grown to minutes."""


@dataclass(slots=True)
class Journal(Promised):
    """Adds what one retry did not save, and the orders that were sent once, without a key."""

    failed_once: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Requests that have failed again: when, what was asked, and the answer."""
    serials: int = 0
    """The quantity of the last order without a key. No two have the same, so none may be there twice."""
    owner: str = ""
    product: str = ""
    """Who gives the orders without a key, and for what."""

    def serial(self) -> int:
        with self.lock:
            self.serials += 1
            return self.serials


class Careful(Client):
    """Comes from outside by TLS, rests between its actions, and repeats a request when the answer says so."""

    rest = (0.05, 0.3)
    promised: Journal
    stack: Cluster

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.session.mount("https://", Named(self.stack.front))

    def actions(self) -> list[Any]:
        return [*super().actions(), self.order_without_key]

    def url(self, service: Service, path: str) -> str:
        return named(service, path)

    def pause(self, answer: requests.Response | None) -> float:
        after = answer.headers.get("Retry-After", "1") if answer is not None else "1"
        return float(after) + self.random.uniform(0, 0.5)

    def failed(self, what: str, attempt: int, answer: requests.Response | None) -> None:
        said = "no answer" if answer is None else f"{answer.status_code} {answer.text[:300]}"
        line = f"{time.strftime('%H:%M:%S')} {what}: {said}"
        with self.promised.lock:
            (self.promised.failures if attempt else self.promised.failed_once).append(line)

    def insist(self, service: Service, path: str, body: Any, key: str | None) -> requests.Response | None:
        answer = super().insist(service, path, body, key)
        if answer is not None and answer.status_code >= 400:
            self.promised.count(f"refusals: {answer.json()['code']}")
        return answer

    def order_without_key(self) -> None:
        """Sends an order once, and never again, whatever the answer is."""
        items = [{"productId": self.promised.product, "quantity": self.promised.serial()}]
        body = {"userId": self.promised.owner, "items": items}
        self.promised.count("orders without a key")
        try:
            answer = self.session.post(self.url(ORDER, "/api/orders"), json=body, timeout=TIMEOUT)
        except requests.RequestException:
            self.promised.count("orders without a key, without an answer")
        else:
            self.promised.count(f"orders without a key, {answer.status_code}")


class Load:
    """Clients that run while something is done to the cluster. Use it as a context; then `check` it."""

    def __init__(self, cluster: Cluster, mail: MailServer, seed: int) -> None:
        self.cluster, self.mail, self.seed = cluster, mail, seed
        self.journal, self.over = Journal(), threading.Event()
        self.clients = customers(cluster, self.journal, seed, self.over, Careful, CLIENTS)
        shop = Shop(cluster)
        self.journal.owner = shop.made(USER, "/api/users", name="Bob", email=f"{uuid.uuid4().hex}@example.com")["id"]
        self.journal.product = shop.made(PRODUCT, "/api/products", name="Sand", price=1, stock=PLENTY)["id"]
        self.lost_workers = 0
        """How often workers were killed, or cut off from Postgres or the mail server, with mails in hand."""

    def __enter__(self) -> "Load":
        for client in self.clients:
            client.start()
        self.go_on(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for client in self.clients:
            client.join(120)
        assert not any(client.is_alive() for client in self.clients)

    @property
    def confirmed(self) -> int:
        return self.journal.figures["orders confirmed"]

    def go_on(self, orders: int, seconds: float = 90.0, *, at_least: float = 0.0) -> None:
        """Wait until so many more orders are confirmed, and ``at_least`` so many seconds are over."""
        enough = self.confirmed + orders
        time.sleep(at_least)
        eventually(f"{orders} more orders", lambda: self.confirmed >= enough, seconds)

    def check(self) -> None:
        """Asserts that no promise is broken. `verify` also compares analytics with the services."""
        verified = self.cluster.run("verify", "--wait", "90", timeout=400)
        assert verified.returncode == 0, (
            f"seed {self.seed}\n{verified.stdout}{verified.stderr}\n{self.cluster.said()[-4000:]}"
        )
        unhandled = [line for line in self.cluster.said().splitlines() if '"event":"unhandled"' in line]
        assert unhandled == []
        check_promises(self.cluster, self.journal)
        self.check_orders_without_key()
        self.check_mails()

    def check_orders_without_key(self) -> None:
        shop = Shop(self.cluster)
        quantities: Counter[int] = Counter()
        path = f"/api/orders/user/{self.journal.owner}?limit=200"
        while path:
            page = shop.get(ORDER, path)
            quantities.update(order["items"][0]["quantity"] for order in page["results"])
            path = page["next"] and "/api/orders/" + page["next"].split("/api/orders/", 1)[1]
        assert [serial for serial, number in quantities.items() if number > 1] == [], (
            "an order was sent twice on the way"
        )

    def check_mails(self) -> None:
        """Each confirmed order has its mail. One comes twice only if its worker was lost at the wrong moment."""

        def sent() -> Counter[str]:
            return Counter(SUBJECT.findall(b"\n".join(content for _, content in list(self.mail.mails)).decode()))

        eventually("each order has its mail", lambda: set(self.journal.orders) <= set(sent()), MAIL_SECONDS)
        twice = sum(number - 1 for order, number in sent().items() if order in self.journal.orders)
        assert twice <= self.lost_workers * AT_ONCE, f"{twice} mails came twice"

    def tell(self, title: str) -> str:
        """The figures, as lines."""
        journal = self.journal
        figures = {
            **journal.figures,
            "requests that failed once": len(journal.failed_once),
            "requests that failed after one retry": len(set(map(_asked, journal.failures))),
        }
        lines = [f"  {number:6} {what}" for what, number in sorted(figures.items())]
        lines.append(f"  {journal.longest:6.1f} s took the slowest answer")
        lines += [f"    {each}" for each in (journal.failures or journal.failed_once)[:5]]
        return "\n".join((f"\n{title}:", *lines))


def _asked(line: str) -> str:
    """The request of a line of the journal, without time and answer."""
    return line.split(" ", 1)[1].split(": ", 1)[0]
