"""``manage.py verify``: checks the promises. Reads the schemas of all services, and analytics over HTTP.

Work in progress can look like a violation for a moment (an order between reservation and confirmation). A check with
findings is therefore repeated, and only findings that stay are reported.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from platform_core.conf.environment import database_parts
from platform_core.stack import ids_behind
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service
from platform_core.vocabulary import (
    HOLDING_STOCK,
    PLACED,
    WITHOUT_STOCK,
    MessageKind,
    NotificationStatus,
    OrderStatus,
    ReservationStatus,
    sql_list,
)

RECOVERY_SECONDS = 15
"""Seconds that recovery may need after an order's PENDING_SECONDS have passed."""
OVERDUE = "interval '10 minutes'"
SETTLING_SECONDS = 10.0
"""Seconds that the repair of an order waits for order-service's worker."""


class VerifyError(Exception):
    """A check cannot run. The message gives the reason."""


class NotLetIn(Exception):
    """A service answered 401 or 403."""


class Finding(NamedTuple):
    """A violation: the subject with its id, and what is wrong with it."""

    subject: str
    problem: str


@dataclass(slots=True)
class Books:
    """The services' databases, opened for reading, and their URLs."""

    connections: Mapping[str, psycopg.Connection[Any]]
    urls: Mapping[str, str]
    pending_seconds: int = 60
    token: str = ""

    def rows(self, service: Service, query: str) -> Iterator[tuple[Any, ...]]:
        """The query's rows, streamed, as of one moment."""
        connection = self.connections[service.package]
        with connection.transaction(), connection.cursor(name="verify") as cursor:
            cursor.itersize = 5000
            cursor.execute(query.encode())
            yield from cursor

    def one(self, service: Service, query: str) -> tuple[Any, ...]:
        """The only row of the query."""
        row = self.connections[service.package].execute(query.encode()).fetchone()
        assert row is not None
        return tuple(row)

    def ask(self, service: Service, path: str) -> Any:
        """A JSON answer of a service. Raises VerifyError."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.urls[service.package] + path, headers=headers)  # noqa: S310  # our own URL
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return json.loads(response.read(), parse_float=Decimal)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise NotLetIn(f"{service.name} does not let us in: set STAFF_TOKEN to a token of the staff") from None
            raise VerifyError(f"{service.name} answers {path} with {error.code}") from None
        except OSError as error:
            raise VerifyError(f"{service.name} does not answer {path}: {error}") from None


@dataclass(frozen=True, slots=True)
class Check:
    """A check. ``repair`` fixes a finding if that is safe, and returns a description of what it did."""

    promise: str
    find: Callable[[Books], Iterator[Finding]]
    repair: Callable[[Books, Finding], str] | None = None


def stock_is_the_sum_of_its_movements(books: Books) -> Iterator[Finding]:
    """Each product's stock equals the sum of its movements."""
    query = """
        SELECT p.id, p.stock, coalesce(sum(m.delta), 0) FROM product_svc_product p
        LEFT JOIN product_svc_stockmovement m ON m.product_id = p.id
        GROUP BY p.id HAVING p.stock <> coalesce(sum(m.delta), 0)
    """
    for product, stock, moved in books.rows(PRODUCT, query):
        yield Finding(f"product {product}", f"has {stock}, its movements come to {moved}")


def reservations_hold_what_they_say(books: Books) -> Iterator[Finding]:
    """The movements of each reservation match its status and lines."""
    query = f"""
        SELECT r.order_id, r.status, r.held, m.moved
        FROM (
            SELECT r.order_id, r.status,
                CASE r.status WHEN '{ReservationStatus.RESERVED}' THEN -coalesce(sum(l.quantity), 0) ELSE 0 END AS held
            FROM product_svc_stockreservation r LEFT JOIN product_svc_reservationline l ON l.reservation_id = r.order_id
            GROUP BY r.order_id
        ) r
        FULL JOIN (
            SELECT order_id, sum(delta) AS moved FROM product_svc_stockmovement WHERE order_id IS NOT NULL
            GROUP BY order_id
        ) m USING (order_id)
        WHERE coalesce(r.held, 0) <> coalesce(m.moved, 0)
    """
    for order, status, held, moved in books.rows(PRODUCT, query):
        yield Finding(f"order {order}", f"reservation {status} should have moved {held} pieces, moved {moved}")


def stock_is_held_for_live_orders_alone(books: Books) -> Iterator[Finding]:
    """Every confirmed order has one live reservation with equal lines, and every other order has none."""
    orders = books.rows(
        ORDER,
        """
        SELECT o.id, o.status, (
            SELECT string_agg(l.product_id || ':' || l.quantity, ',' ORDER BY l.product_id)
            FROM order_svc_orderline l WHERE l.order_id = o.id
        ) FROM order_svc_order o ORDER BY o.id
        """,
    )
    reservations = books.rows(
        PRODUCT,
        """
        SELECT r.order_id, r.status, (
            SELECT string_agg(l.product_id || ':' || l.quantity, ',' ORDER BY l.product_id)
            FROM product_svc_reservationline l WHERE l.reservation_id = r.order_id
        ) FROM product_svc_stockreservation r ORDER BY r.order_id
        """,
    )
    releasing = {int(row[0]) for row in books.rows(ORDER, _UNDELIVERED_RELEASES)}
    for order_id, order, reservation in _side_by_side(orders, reservations):
        problem = _mismatch(order, reservation, being_released=order_id in releasing)
        if problem:
            yield Finding(f"order {order_id}", problem)


_UNDELIVERED_RELEASES = f"""
    SELECT payload->>'orderId' FROM outbox_outboxmessage
    WHERE kind = '{MessageKind.STOCK_RELEASE}' AND state <> 'delivered'
"""


def _mismatch(order: tuple[Any, ...] | None, reservation: tuple[Any, ...] | None, *, being_released: bool) -> str:
    status = order[0] if order else "unknown"
    is_held = reservation is not None and reservation[0] == ReservationStatus.RESERVED
    if status in HOLDING_STOCK:
        if not is_held:
            return f"is {status} but holds no stock"
        if reservation and order and reservation[1] != order[1]:
            return f"holds {reservation[1]} where it has {order[1]}"
    elif status != OrderStatus.PENDING and is_held and not being_released:
        return f"is {status} but holds stock, and nothing is on its way to release it"
    return ""


def _side_by_side(
    left: Iterator[tuple[Any, ...]], right: Iterator[tuple[Any, ...]]
) -> Iterator[tuple[Any, tuple[Any, ...] | None, tuple[Any, ...] | None]]:
    """Rows of two results that are sorted by their first column, joined on it: ``(key, rest | None, rest | None)``."""
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None
            yield a[0], a[1:], None
            a = next(left, None)
        elif a is None or b[0] < a[0]:
            yield b[0], None, b[1:]
            b = next(right, None)
        else:
            yield a[0], a[1:], b[1:]
            a, b = next(left, None), next(right, None)


def settle_stock(books: Books, finding: Finding) -> str:
    """Release stock that no order needs, or reserve stock again for an order that holds none.

    If there is too little stock, order-service cancels the order and notifies the customer. Waits for the outcome.
    """
    order = int(finding.subject.split()[-1])
    if "holds no stock" in finding.problem:
        _queue(books, MessageKind.STOCK_RESERVE, order)
        return _reserved_or_cancelled(books, order)
    if "holds stock" in finding.problem:
        _queue(books, MessageKind.STOCK_RELEASE, order)
        return "is being released"
    return ""


def _reserved_or_cancelled(books: Books, order: int) -> str:
    until = time.monotonic() + SETTLING_SECONDS
    query = f"SELECT state, last_error FROM outbox_outboxmessage WHERE key = 'order-{order}-reserve'"
    while True:
        state, error = books.one(ORDER, query)
        if state == "dead":
            return ""  # the check of the outboxes names it, with the reason
        if state == "delivered":
            (status,) = books.one(ORDER, f"SELECT status FROM order_svc_order WHERE id = {order}")
            if status in HOLDING_STOCK:
                return "has its stock again"
            return f"could not get its stock again: it is {status}, and its customer is notified"
        if time.monotonic() > until:
            return f"will get its stock again, or be cancelled with a message ({error or 'no worker has tried yet'})"
        time.sleep(0.2)


def _queue(books: Books, kind: MessageKind, order: int) -> None:
    values = {"kind": kind.value, "order": order, "what": kind.partition(".")[2]}
    books.connections[ORDER.package].execute(_QUEUE, {**values, "payload": json.dumps({"orderId": order})})


# As order-service itself would: nobody but it may ask product-service for that.
_QUEUE = f"""
    INSERT INTO outbox_outboxmessage AS m
        (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id, traceparent,
         created_at)
    VALUES (%(kind)s, '{PRODUCT.name}', 'order:' || %(order)s::text,
        'order-' || %(order)s::text || '-' || %(what)s::text, %(payload)s, 'pending', 0, now(), '', 'verify', '', now())
    ON CONFLICT (key) DO UPDATE SET state = 'pending', attempts = 0, available_at = now(), delivered_at = NULL
"""


# The steps of an order that leave both a message to the customer and an event, and whether an order has taken them.
_STEPS = f"""
            ('{OrderStatus.CONFIRMED}', o.confirmed_at IS NOT NULL),
            ('{OrderStatus.CANCELLED}', o.status = '{OrderStatus.CANCELLED}'),
            ('{OrderStatus.SHIPPED}', o.status IN {sql_list((OrderStatus.SHIPPED, OrderStatus.DELIVERED))})
""".strip()


def every_step_left_its_message(books: Books) -> Iterator[Finding]:
    """One confirmation for each order that was ever confirmed; one message for each cancel and shipment."""
    query = f"""
        SELECT o.id, expected.what FROM order_svc_order o
        CROSS JOIN LATERAL (VALUES
            {_STEPS},
            ('release', o.status IN {sql_list(WITHOUT_STOCK)})
        ) AS expected (what, wanted)
        LEFT JOIN outbox_outboxmessage m ON m.key = 'order-' || o.id || '-' || expected.what
        WHERE expected.wanted <> (m.id IS NOT NULL)
    """
    for order, what in books.rows(ORDER, query):
        yield Finding(f"order {order}", f"its message {what!r} is missing, or was never due")


def delivered_messages_arrived_once(books: Books) -> Iterator[Finding]:
    """Each delivered message exists exactly once at notification-service."""
    sent = books.rows(
        ORDER,
        f"""
        SELECT key COLLATE "C" FROM outbox_outboxmessage
        WHERE kind = '{MessageKind.NOTIFICATION_SEND}' AND state = 'delivered'
        ORDER BY 1
        """,
    )
    arrived = books.rows(
        NOTIFICATION,
        """
        SELECT sender_key COLLATE "C", count(*) FROM notification_svc_notification WHERE sender_key LIKE 'order-%'
        GROUP BY 1 ORDER BY 1
        """,
    )
    for key, is_sent, counted in _side_by_side(sent, arrived):
        if is_sent is not None and counted is None:
            yield Finding(f"message {key}", "was delivered but is not there")
        elif counted is not None and counted[0] != 1:
            yield Finding(f"message {key}", f"arrived {counted[0]} times")


def every_step_left_its_event(books: Books) -> Iterator[Finding]:
    """Where retention has deleted events, none is missed of an order that is older than the first that is kept."""
    query = f"""
        SELECT o.id, expected.what, count(e.id) FROM order_svc_order o
        CROSS JOIN LATERAL (VALUES
            {_STEPS},
            ('{OrderStatus.DELIVERED}', o.status = '{OrderStatus.DELIVERED}')
        ) AS expected (what, wanted)
        LEFT JOIN events_event e ON e.subject = o.id::text AND e.type = 'order.' || expected.what
        GROUP BY o.id, expected.what, expected.wanted
        HAVING count(e.id) > expected.wanted::int OR (
            count(e.id) < expected.wanted::int
            AND (
                NOT EXISTS (SELECT FROM events_feedstart WHERE txid > 0)
                OR o.confirmed_at > (SELECT time FROM events_event ORDER BY epoch, txid, id LIMIT 1)
            )
        )
    """
    for order, what, count in books.rows(ORDER, query):
        yield Finding(f"order {order}", f"has {count} events order.{what}")


def feeds_belong_to_this_server(books: Books) -> Iterator[Finding]:
    """After a restore into another server the epoch has to be raised: what happens now would lie before what was."""
    query = """
        SELECT count(*) FROM events_event
        WHERE epoch = coalesce((SELECT max(value) FROM events_feedepoch), 1)
          AND txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    """
    for service in SERVICES:
        if service.has_feed and (ahead := books.one(service, query)[0]):
            problem = f"has {ahead} events of another server: stop, `manage.py new_epoch`, start"
            yield Finding(f"the feed of {service.name}", problem)


def no_history_is_lost(books: Books) -> Iterator[Finding]:
    """No service has noticed that its database lost transactions, and no service knows an order that is not there."""
    for service in SERVICES:
        if service.has_feed:
            for (lost,) in books.rows(service, "SELECT lost FROM events_serverhistory WHERE lost <> ''"):
                yield Finding(f"the database of {service.name}", f"has lost transactions: {lost}")


def no_id_is_given_out_twice(books: Books) -> Iterator[Finding]:
    """The sequences of users, products, orders and notifications are not behind what other services know."""

    def ask(service: Service, query: str) -> int:
        return int(books.one(service, query)[0])

    for table, given, known in ids_behind(ask):
        problem = f"has given out {given}, and other services know {known}: stop, `manage.py new_epoch`, start"
        yield Finding(f"the sequence of {table}", problem)


def no_background_work_is_parked(books: Books) -> Iterator[Finding]:
    """No item of a background duty was given up."""
    query = "SELECT duty, item, attempts, error FROM platform_core_faileditem WHERE parked_at IS NOT NULL ORDER BY id"
    for service in SERVICES:
        if service.has_worker:
            for duty, item, attempts, error in books.rows(service, query):
                yield Finding(f"{service.package} {duty} {item}", f"was given up after {attempts} attempts: {error}")


def retry_parked(books: Books, finding: Finding) -> str:
    """Give a parked item another series of attempts, which is safe: nothing of it was done."""
    package, duty, item = finding.subject.split(" ", 2)
    books.connections[package].execute(
        "UPDATE platform_core_faileditem SET parked_at = NULL, attempts = 0, retry_at = clock_timestamp() "
        "WHERE duty = %s AND item = %s",
        [duty, item],
    )
    return "will be tried again"


def nothing_is_pending_for_too_long(books: Books) -> Iterator[Finding]:
    """No order has been pending longer than recovery needs."""
    query = f"""
        SELECT id, now() - created_at FROM order_svc_order
        WHERE status = '{OrderStatus.PENDING}'
          AND created_at < now() - interval '{books.pending_seconds + RECOVERY_SECONDS} seconds'
    """
    for order, age in books.rows(ORDER, query):
        yield Finding(f"order {order}", f"is pending for {age}")


def outboxes_are_drained(books: Books) -> Iterator[Finding]:
    """Nothing waits for longer than a peer's outage explains, and nothing is dead but what can never arrive.

    A message to a user who does not exist is no broken promise: it has failed, and says so.
    """
    query = f"""
        SELECT key, state, attempts, last_error FROM outbox_outboxmessage
        WHERE (state = 'dead' AND last_error NOT LIKE 'PermanentFailure%')
           OR (state = 'pending' AND created_at < now() - {OVERDUE})
    """
    for service in (ORDER, NOTIFICATION):
        for key, state, attempts, error in books.rows(service, query):
            yield Finding(f"{service.package} {key}", f"is {state} after {attempts} attempts: {error or 'no error'}")


def redrive_message(books: Books, finding: Finding) -> str:
    """Safe for every dead message: the receiver dedupes by its key."""
    package, key = finding.subject.split(" ", 1)
    if " dead " not in f" {finding.problem} ":
        return ""
    connection = books.connections[package]
    if package == NOTIFICATION.package:
        connection.execute(
            f"UPDATE notification_svc_notification SET status = '{NotificationStatus.QUEUED}', version = version + 1 "
            f"WHERE status = '{NotificationStatus.FAILED}' AND 'notification-' || id = %s",
            [key],
        )
    connection.execute(
        "UPDATE outbox_outboxmessage SET state = 'pending', attempts = 0, available_at = now() "
        "WHERE key = %s AND state = 'dead'",
        [key],
    )
    return "will be delivered again"


def analytics_count_what_there_is(books: Books) -> Iterator[Finding]:
    """The headline figures equal the counts in the services' tables."""
    before = _expected_figures(books)
    try:
        report = books.ask(ANALYTICS, "/api/analytics/summary")
    except NotLetIn as error:
        yield Finding("analytics", f"cannot be compared: {error}")
        return
    if report["stale"]:
        yield Finding("analytics", f"cannot reach {', '.join(report['stale'])}")
        return
    reported = {
        "users.total": report["users"]["total"],
        "products.total": report["products"]["total"],
        "products.stockUnits": report["products"]["stockUnits"],
        "products.stockValue": report["products"]["stockValue"],
        "orders.total": report["orders"]["total"],
        "orders.revenue": report["orders"]["revenue"],
        **{f"orders.{status}": number for status, number in report["orders"]["byStatus"].items()},
    }
    if _expected_figures(books) != before:
        yield Finding("analytics", "cannot be compared while things change")
        return
    for name, expected in before.items():
        if reported[name] != expected:
            yield Finding(f"analytics {name}", f"says {reported[name]}, there are {expected}")


def _expected_figures(books: Books) -> dict[str, Any]:
    (users,) = books.one(USER, "SELECT count(*) FROM user_svc_user")
    products, units, value = books.one(
        PRODUCT,
        "SELECT count(*), coalesce(sum(stock), 0), coalesce(sum(stock * price), 0) "
        "FROM product_svc_product WHERE deleted_at IS NULL",
    )
    counted = dict(books.rows(ORDER, "SELECT status, count(*) FROM order_svc_order GROUP BY status"))
    (revenue,) = books.one(
        ORDER, f"SELECT coalesce(sum(total), 0) FROM order_svc_order WHERE status IN {sql_list(HOLDING_STOCK)}"
    )
    placed = {status.value: counted.get(status.value, 0) for status in PLACED}
    return {
        "users.total": users,
        "products.total": products,
        "products.stockUnits": units,
        "products.stockValue": value,
        "orders.total": sum(placed.values()),
        "orders.revenue": revenue,
        **{f"orders.{status}": number for status, number in placed.items()},
    }


CHECKS = (
    Check("stock equals the sum of its movements", stock_is_the_sum_of_its_movements),
    Check("reservations have moved what they hold", reservations_hold_what_they_say),
    Check("stock is held for live orders alone", stock_is_held_for_live_orders_alone, settle_stock),
    Check("every step of an order left its message", every_step_left_its_message),
    Check("every step of an order left its event", every_step_left_its_event),
    Check("feeds belong to this server", feeds_belong_to_this_server),
    Check("no history is lost", no_history_is_lost),
    Check("no id is given out twice", no_id_is_given_out_twice),
    Check("what was delivered arrived once", delivered_messages_arrived_once),
    Check("nothing is pending for too long", nothing_is_pending_for_too_long),
    Check("outboxes are drained", outboxes_are_drained, redrive_message),
    Check("no background work is parked", no_background_work_is_parked, retry_parked),
    Check("analytics count what there is", analytics_count_what_there_is),
)


@dataclass(slots=True)
class Result:
    check: Check
    findings: list[Finding]
    seconds: float
    repaired: dict[Finding, str] = field(default_factory=dict)


def verify(values: Mapping[str, Any], *, patience: float, repair: bool) -> int:
    """Run all checks. Reports findings that persist for ``patience`` seconds; returns 1 if any are left.

    Raises VerifyError when a database or analytics cannot be reached.
    """
    console = Console(soft_wrap=True)
    try:
        with ExitStack() as stack, Progress(console=console, transient=True) as progress:
            books = _open(values, stack)
            task = progress.add_task("verifying", total=len(CHECKS))
            results = []
            for check in CHECKS:
                progress.update(task, description=check.promise)
                results.append(_make(check, books, patience, repair))
                progress.advance(task)
    except psycopg.OperationalError as error:
        raise VerifyError(f"A database cannot be read: {str(error).strip()}") from None
    _tell(console, results)
    return 0 if all(len(result.findings) == len(result.repaired) for result in results) else 1


def _open(values: Mapping[str, Any], stack: ExitStack) -> Books:
    connections = {}
    for service in SERVICES:
        parts = database_parts(service, values)
        connections[service.package] = stack.enter_context(psycopg.connect(**(parts or {}), autocommit=True))
    urls = {service.package: values[service.url_variable] for service in SERVICES}
    return Books(connections, urls, values["PENDING_SECONDS"], values["STAFF_TOKEN"] or "")


def _make(check: Check, books: Books, patience: float, repair: bool) -> Result:
    began = time.monotonic()
    findings = lasting = _found(check, books, began + patience)
    while findings and time.monotonic() - began < patience:
        time.sleep(0.5)
        before = {finding.subject for finding in findings}
        findings = _found(check, books, began + patience)
        # Something else that is under way now is no proof that the first thing is wrong.
        lasting = [finding for finding in findings if finding.subject in before]
    result = Result(check, lasting, time.monotonic() - began)
    if repair and check.repair:
        result.repaired = {f: done for f in lasting if (done := check.repair(books, f))}
    return result


def _found(check: Check, books: Books, until: float) -> list[Finding]:
    """The findings of now. A service that does not answer may be about to come back: it is asked again until then."""
    while True:
        try:
            return list(check.find(books))
        except VerifyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _tell(console: Console, results: list[Result]) -> None:
    table = Table("promise", "state", "seconds")
    for result in results:
        left = len(result.findings) - len(result.repaired)
        state = "[green]holds[/]" if not left else f"[red]{left} violations[/]"
        if result.repaired:
            state += f" [yellow]{len(result.repaired)} repaired[/]"
        table.add_row(result.check.promise, state, f"{result.seconds:.1f}")
    console.print(table)
    for result in results:
        for finding in result.findings:
            done = result.repaired.get(finding)
            console.print(f"{finding.subject} {finding.problem}" + (f" – {done}" if done else ""), highlight=False)
