"""What the contenders are asked to do, and how an answer must look to count."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from benchmarks.client import Answer, ask
from benchmarks.contender import Contender, Layout
from benchmarks.database import LARGE, SMALL
from benchmarks.seeding import CATEGORIES, Size

PREPARED = 2000
REPLAYED = 32
DEEP = 499_950
"""Rows before page 10,000 of 50."""
PAGE, LONGEST_PAGE = 50, 200


class Differs(Exception):
    """An answer is not what the contract says."""


@dataclass(slots=True)
class Site:
    """A contender that runs, and what its database holds. ``kept``: by work, what its preparation found."""

    contender: Contender
    layout: Layout
    headers: Mapping[str, str]
    size: Size
    random: Random
    kept: dict[str, Any] = field(default_factory=dict)

    def encoder(self, service: str, method: str, **headers: str) -> Callable[..., bytes]:
        """``encode(path, body=b"", key="")`` → the request as it goes over the wire."""
        lines = {"Host": f"127.0.0.1:{self.layout.port(service)}", "Accept": "application/json"}
        lines |= {**self.headers, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        if method == "GET":
            return lambda path: f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()
        head += "Content-Type: application/json\r\n"

        def encode(path: str, body: str, key: str = "") -> bytes:
            once = f"Idempotency-Key: {key}\r\n" if key else ""
            return f"{method} {path} HTTP/1.1\r\n{head}{once}Content-Length: {len(body)}\r\n\r\n{body}".encode()

        return encode

    def ask(self, service: str, request: bytes, expected: int) -> Answer:
        return ask(self.layout.port(service), request, expected)

    def page(self, path: str) -> dict[str, Any]:
        """A list's page."""
        found = json.loads(self.ask("order", self.encoder("order", "GET")(path), 200).body)
        assert isinstance(found, dict)
        return found


Check = Callable[[Site, Answer, Any], None]


@dataclass(frozen=True, slots=True)
class Work:
    """``requests`` never end; ``check`` raises Differs. It is measured on ``database``."""

    name: str
    title: str
    service: str
    status: int
    requests: Callable[[Site], Iterator[bytes]]
    check: Check
    database: str = SMALL


def demand(holds: object, what: str, found: Any) -> None:
    if not holds:
        raise Differs(f"expected {what}, found {json.dumps(found)[:1500]}")


def has(found: Any, *names: str) -> None:
    demand(isinstance(found, dict) and set(names) <= set(found), f"the keys {', '.join(names)}", found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _product(site: Site, answer: Answer, found: Any) -> None:
    has(found, "id", "name", "description", "category", "sku", "price", "stock", "createdAt", "updatedAt")
    demand(isinstance(found["id"], str) and found["id"].isdigit(), "an id of digits", found)
    demand(_is_number(found["price"]) and isinstance(found["stock"], int), "price and stock as numbers", found)


def _products(site: Site, answer: Answer, found: Any) -> None:
    has(found, "results", "next", "previous")
    demand(len(found["results"]) == PAGE and found["next"], f"{PAGE} results and a next page", found)
    for each in found["results"]:
        _product(site, answer, each)
    ids = [int(each["id"]) for each in found["results"]]
    demand(ids == sorted(ids, reverse=True), "the newest first", ids)


def _filtered(site: Site, answer: Answer, found: Any) -> None:
    _products(site, answer, found)
    demand(len({each["category"] for each in found["results"]}) == 1, "one category", found)


def _order(lines: int) -> Check:
    def check(site: Site, answer: Answer, found: Any) -> None:
        has(found, "id", "userId", "status", "items", "total", "currency", "createdAt", "updatedAt")
        demand(found["status"] == "confirmed" and len(found["items"]) == lines, f"{lines} confirmed lines", found)
        for item in found["items"]:
            has(item, "productId", "name", "unitPrice", "quantity", "subtotal")
        demand(_is_number(found["total"]), "a number as total", found)
        total = round(sum(item["subtotal"] for item in found["items"]), 2)
        demand(found["total"] == total, f"{total} as total", found)

    return check


def _replayed(site: Site, answer: Answer, found: Any) -> None:
    _order(1)(site, answer, found)
    demand(b"\r\nidempotent-replayed: true" in answer.head, "Idempotent-Replayed: true", answer.head.decode())
    demand(found["id"] in site.kept["replay"], "an order that was there before", found)


def _summary(site: Site, answer: Answer, found: Any) -> None:
    has(found, "asOf", "stale", "users", "products", "orders", "notifications")
    demand(found["stale"] == [], "nothing stale", found)
    has(found["orders"], "total", "byStatus", "revenue", "averageOrderValue")
    for name, least in (("users", site.size.users), ("products", site.size.products), ("orders", site.size.orders)):
        demand(found[name]["total"] >= least, f"at least {least} {name}", found)


def _orders(rows: Callable[[Size], int]) -> Check:
    """A page of orders that begins after so many."""

    def check(site: Site, answer: Answer, found: Any) -> None:
        has(found, "results", "next", "previous")
        demand(len(found["results"]) == PAGE, f"{PAGE} results", found)
        for each in found["results"]:
            _order(1)(site, answer, each)
        first = str(site.size.orders - rows(site.size))
        demand(found["results"][0]["id"] == first, f"order {first} as the first one", found["results"][0])

    return check


def deep(size: Size) -> int:
    """So many rows lie before the deep page: half of a smaller list."""
    return min(DEEP, size.orders // 2 // PAGE * PAGE)


def _read(site: Site) -> Iterator[bytes]:
    encode = site.encoder("product", "GET")
    ids = (site.random.randint(1, site.size.products) for _ in range(PREPARED))
    return cycle([encode(f"/api/products/{number}") for number in ids])


def _list(site: Site) -> Iterator[bytes]:
    return cycle([site.encoder("product", "GET")(f"/api/products?limit={PAGE}")])


def _filter(site: Site) -> Iterator[bytes]:
    encode, draw = site.encoder("product", "GET"), site.random.randrange
    paths = (
        f"/api/products?category=category-{draw(CATEGORIES)}&minPrice={draw(100, 25_000) / 100}&limit={PAGE}"
        for _ in range(PREPARED)
    )
    return cycle([encode(path) for path in paths])


def _create(site: Site) -> Iterator[bytes]:
    encode, draw = site.encoder("product", "POST"), site.random.randrange
    while True:
        number = draw(10**9)
        body = f'{{"name": "New product {number}", "price": {number % 49_900 / 100 + 1:.2f}, "stock": 100, '
        yield encode("/api/products", f'{body}"category": "category-{number % CATEGORIES}"}}')


def _place(lines: int, products: Callable[[Site], int]) -> Callable[[Site], Iterator[bytes]]:
    """Orders of so many lines; ``products``: over how many of them they are spread."""

    def requests(site: Site) -> Iterator[bytes]:
        encode, draw, bits = site.encoder("order", "POST"), site.random.randrange, site.random.getrandbits
        among, users = products(site), site.size.users
        step = among // lines
        while True:
            first = draw(among)
            items = ", ".join(
                f'{{"productId": "{1 + (first + n * step) % among}", "quantity": 1}}' for n in range(lines)
            )
            key = f"{bits(128):032x}"
            yield encode("/api/orders", f'{{"userId": "{1 + draw(users)}", "items": [{items}]}}', key)

    return requests


def _everywhere(site: Site) -> int:
    return site.size.products


def _replay(site: Site) -> Iterator[bytes]:
    """The orders are placed now; from then on their requests come again."""
    fresh = _place(1, _everywhere)(site)
    requests = [next(fresh) for _ in range(REPLAYED)]
    site.kept["replay"] = {json.loads(site.ask("order", request, 201).body)["id"] for request in requests}
    return cycle(requests)


def _summarize(site: Site) -> Iterator[bytes]:
    return cycle([site.encoder("analytics", "GET")("/api/analytics/summary")])


def _first_page(site: Site) -> Iterator[bytes]:
    return cycle([site.encoder("order", "GET")(f"/api/orders?limit={PAGE}")])


def _deep_page(site: Site) -> Iterator[bytes]:
    rows = deep(site.size)
    jump = site.contender.deep_page
    path = jump(rows, PAGE) if jump else _followed(site, rows)
    return cycle([site.encoder("order", "GET")(path)])


_cursors: dict[tuple[str, int], str] = {}
"""Found in an earlier round: the large database stays as it is, and so do cursors of it."""


def _followed(site: Site, rows: int) -> str:
    """The path of the page behind so many rows, by following `next` from the first one."""
    where = (site.contender.name, rows)
    if where not in _cursors:
        path, passed = "/api/orders", 0
        while passed < rows:
            step = min(LONGEST_PAGE, rows - passed)
            found = site.page(_with_limit(path, step))
            demand(len(found["results"]) == step and found["next"], f"{step} results and a next page", found)
            path, passed = found["next"], passed + step
        _cursors[where] = _with_limit(path, PAGE)
    return _cursors[where]


def _with_limit(url: str, limit: int) -> str:
    """Path and query of ``url``, with another ``limit``."""
    parts = urlsplit(url)
    return f"{parts.path}?{urlencode({**dict(parse_qsl(parts.query)), 'limit': limit})}"


# In this order, reads first: nobody summarizes what was written just before, which some would have to take in first.
WORK = (
    Work("read_one", "read one product", "product", 200, _read, _product),
    Work("list_50", "list 50 products", "product", 200, _list, _products),
    Work("filtered", "list 50, filtered", "product", 200, _filter, _filtered),
    Work("summary_small", "summary, few orders", "analytics", 200, _summarize, _summary),
    Work("create", "create a product", "product", 201, _create, _product),
    Work("order_1", "place an order", "order", 201, _place(1, _everywhere), _order(1)),
    Work("order_10", "an order of 10 lines", "order", 201, _place(10, _everywhere), _order(10)),
    Work("order_hot", "orders of one product", "order", 201, _place(1, lambda site: 1), _order(1)),
    Work("replay", "repeat an order's request", "order", 201, _replay, _replayed),
    Work("summary_large", "summary, many orders", "analytics", 200, _summarize, _summary, LARGE),
    Work("page_1", "page 1 of many orders", "order", 200, _first_page, _orders(lambda size: 0), LARGE),
    Work("page_10000", "page 10,000 of many", "order", 200, _deep_page, _orders(deep), LARGE),
)
BY_NAME = {work.name: work for work in WORK}
