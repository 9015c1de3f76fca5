"""The kinds of work that contenders are measured with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import parse_qsl, urlencode, urlsplit

from benchmarks.answers import (
    PAGE,
    Check,
    demand,
    is_filtered_page,
    is_order,
    is_page_of_orders,
    is_page_of_products,
    is_product,
    is_replayed_order,
    is_summary,
)
from benchmarks.database import LARGE, SMALL
from benchmarks.seeding import CATEGORIES, Size
from benchmarks.site import Site

PREPARED = 2000
REPLAYED = 32
DEEP = 499_950
"""Rows before page 10,000 of 50."""
LONGEST_PAGE = 200


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work, measured on ``database``. ``requests`` is endless; ``check`` raises Differs."""

    name: str
    title: str
    service: str
    status: int
    requests: Callable[[Site], Iterator[bytes]]
    check: Check
    database: str = SMALL


def deep(size: Size) -> int:
    """The number of rows before the deep page. In a smaller list it is half of the rows."""
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
    """Orders with the given number of lines, spread over ``products`` products."""

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
    """Places orders first. The measured requests repeat them."""
    fresh = _place(1, _everywhere)(site)
    requests = [next(fresh) for _ in range(REPLAYED)]
    site.kept["replay"] = {site.ask("order", request, 201).json()["id"] for request in requests}
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
"""Reuses the path from an earlier round. The large database does not change, so its cursors stay valid."""


def _followed(site: Site, rows: int) -> str:
    """The path of the page after the given number of rows, found by following `next` from the first page."""
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


# Reads come first, so that no contender has to apply events of the writes before it can summarize.
WORK = (
    Work("read_one", "read one product", "product", 200, _read, is_product),
    Work("list_50", "list 50 products", "product", 200, _list, is_page_of_products),
    Work("filtered", "list 50, filtered", "product", 200, _filter, is_filtered_page),
    Work("summary_small", "summary, few orders", "analytics", 200, _summarize, is_summary),
    Work("create", "create a product", "product", 201, _create, is_product),
    Work("order_1", "place an order", "order", 201, _place(1, _everywhere), is_order(1)),
    Work("order_10", "an order of 10 lines", "order", 201, _place(10, _everywhere), is_order(10)),
    Work("order_hot", "orders of one product", "order", 201, _place(1, lambda site: 1), is_order(1)),
    Work("replay", "repeat an order's request", "order", 201, _replay, is_replayed_order),
    Work("summary_large", "summary, many orders", "analytics", 200, _summarize, is_summary, LARGE),
    Work("page_1", "page 1 of many orders", "order", 200, _first_page, is_page_of_orders(lambda size: 0), LARGE),
    Work("page_10000", "page 10,000 of many", "order", 200, _deep_page, is_page_of_orders(deep), LARGE),
)
BY_NAME = {work.name: work for work in WORK}
