"""Hot products: many clients order one product, and a sale until nothing is left. What Postgres waits for meanwhile.

A client that gets a 503 sends its next order at once, so the figures are those of a crowd without patience.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

import psycopg

from benchmarks.client import Client, Sample, UnexpectedAnswer
from benchmarks.contender import Contender
from benchmarks.database import SMALL
from benchmarks.measuring import WARM_UP, WARM_UP_SECONDS, ContenderFailed, Measurement
from benchmarks.reporting import Table
from benchmarks.site import Site
from benchmarks.work import BY_NAME

CROWD, SALE_CROWD = 16, 50
PLENTY = 100_000_000
LATE_SHARE = 20
"""One order in so many comes after the last piece is sold."""
SAMPLE_SECONDS = 0.02
LONGEST_SALE_SECONDS = 1800.0
CREATED, SOLD_OUT, BUSY = 201, 409, 503
_SAMPLE = """
    SELECT coalesce(wait_event_type || ': ' || wait_event, 'CPU') FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND state = 'active'
      AND pid <> pg_backend_pid()
"""
_BOOKS = """
    SELECT p.stock, (SELECT sum(delta) FROM product_svc.product_svc_stockmovement WHERE product_id = p.id),
        (SELECT count(*) FROM order_svc.order_svc_order o JOIN order_svc.order_svc_orderline l ON l.order_id = o.id
         WHERE l.product_id = p.id AND o.status = 'confirmed')
    FROM product_svc.product_svc_product p WHERE p.id = %s
"""


@dataclass(frozen=True, slots=True)
class Rush:
    """One crowd's orders. ``waits``: how many sessions of Postgres were in each wait on average; "CPU" is no wait."""

    title: str
    clients: int
    per_second: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    statuses: Mapping[int, int]
    waits: Mapping[str, float]


def measure_rushes(measurement: Measurement, this: Contender, pieces: int) -> list[Rush]:
    """All rushes in turn, once. Raises ContenderFailed, also if the books of a product do not balance afterwards."""
    with measurement.started(0, this, SMALL) as (found, site):
        try:
            seconds, one = measurement.options.seconds, _product(site, PLENTY)
            spread = BY_NAME["order_1"].requests(site)
            _crowd(site, CROWD, spread).warm_up(WARM_UP_SECONDS, WARM_UP)
            rushes = [
                _rush(measurement, "all products", _crowd(site, CROWD, spread), seconds),
                _rush(measurement, "one product", _crowd(site, CROWD, _orders(site, one)), seconds),
            ]
            rushes.append(_sale(measurement, site, pieces))
        except (UnexpectedAnswer, OSError) as error:
            raise ContenderFailed(f"hot: {error}\n{found.said()}") from None
    return rushes


def _sale(measurement: Measurement, site: Site, pieces: int) -> Rush:
    product = _product(site, pieces)
    rush = _rush(
        measurement,
        f"a sale of {pieces:,} pieces",
        _crowd(site, SALE_CROWD, _orders(site, product), SOLD_OUT),
        LONGEST_SALE_SECONDS,
        most=pieces + pieces // LATE_SHARE,
    )
    with psycopg.connect(measurement.server.url(SMALL)) as connection:
        stock, moved, confirmed = connection.execute(_BOOKS, [product]).fetchone() or (None,) * 3
    sold = rush.statuses.get(CREATED, 0)
    if not (stock == moved == pieces - sold and confirmed == sold):
        raise ContenderFailed(
            f"hot: {sold} of {pieces} were sold, but the stock is {stock}, the sum of its movements {moved}, "
            f"and {confirmed} orders are confirmed."
        )
    return rush


def _crowd(site: Site, clients: int, requests: Iterator[bytes], *others: int) -> Client:
    return Client(site.layout.port("order"), clients, CREATED, requests, tolerated=(BUSY, *others))


def _product(site: Site, stock: int) -> int:
    body = json.dumps({"name": "Hot product", "price": 5, "stock": stock})
    return int(site.ask("product", site.encoder("product", "POST")("/api/products", body), CREATED).json()["id"])


def _orders(site: Site, product: int) -> Iterator[bytes]:
    encode, draw, bits = site.encoder("order", "POST"), site.random.randrange, site.random.getrandbits
    while True:
        items = f'[{{"productId": "{product}", "quantity": 1}}]'
        yield encode(
            "/api/orders", f'{{"userId": "{1 + draw(site.size.users)}", "items": {items}}}', f"{bits(128):032x}"
        )


def _rush(measurement: Measurement, title: str, client: Client, seconds: float, most: int | None = None) -> Rush:
    with _sampled(measurement.server.url(SMALL)) as waits:
        sample = client.measure(seconds) if most is None else client.warm_up(seconds, most)
    rush = _found(title, client, sample, waits)
    measurement.say(
        f"{title:24} {rush.clients} clients  {rush.per_second:7.1f}/s  p50 {rush.p50_ms:7.1f} ms  "
        f"p99 {rush.p99_ms:7.1f} ms  {dict(rush.statuses)}"
    )
    return rush


def _found(title: str, client: Client, sample: Sample, waits: Mapping[str, float]) -> Rush:
    return Rush(
        title,
        client.connections,
        sample.in_time / sample.seconds,
        1000 * median(sample.latencies),
        1000 * quantiles(sample.latencies, n=100)[98],
        1000 * max(sample.latencies),
        dict(client.statuses),
        waits,
    )


@contextmanager
def _sampled(url: str) -> Iterator[dict[str, float]]:
    """Samples what the sessions of Postgres wait for. The dictionary is filled at the end of the block."""
    found: Counter[str] = Counter()
    waits: dict[str, float] = {}
    ended, samples = threading.Event(), 0

    def sample() -> None:
        nonlocal samples
        with psycopg.connect(url, autocommit=True) as connection:
            while not ended.wait(SAMPLE_SECONDS):
                found.update(row[0] for row in connection.execute(_SAMPLE))
                samples += 1

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()
        waits |= {name: count / max(samples, 1) for name, count in found.most_common()}


def hot_tables(rushes: Sequence[Rush]) -> list[Table]:
    """Throughput and fairness of the rushes, and what Postgres waited for."""
    figures = ("orders/s", "p50 ms", "p99 ms", "p99 : p50", "longest ms", "placed", "sold out", "asked to come back")
    rows = [
        [
            f"{rush.title}, {rush.clients} clients",
            f"{rush.per_second:.0f}",
            f"{rush.p50_ms:.0f}",
            f"{rush.p99_ms:.0f}",
            f"{rush.p99_ms / rush.p50_ms:.1f}",
            f"{rush.most_ms:.0f}",
            *(f"{rush.statuses.get(status, 0):,}" for status in (CREATED, SOLD_OUT, BUSY)),
        ]
        for rush in rushes
    ]
    names = list(dict.fromkeys(name for rush in rushes for name in list(rush.waits)[:6]))
    waits = [[name, *(f"{rush.waits.get(name, 0):.2f}" for rush in rushes)] for name in names]
    return [
        Table("Many clients on one product", ("", *figures), rows),
        Table("Sessions of Postgres in a wait, on average", ("", *(rush.title for rush in rushes)), waits),
    ]


def as_json(rushes: Sequence[Rush], about: dict[str, Any]) -> dict[str, Any]:
    return {"about": about, "rushes": [asdict(rush) for rush in rushes]}
