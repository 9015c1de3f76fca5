"""``manage.py verify``: checks the promises across all services, by reading their schemas and asking analytics-service.

Work in progress can look like a violation for a moment (an order between reservation and confirmation). A check with
findings is therefore repeated, and only findings that persist are reported.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from typing import Any, NamedTuple

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from platform_core.conf.environment import database_parts
from platform_core.db.waiting import open_connection
from platform_core.stack import ids_behind
from platform_core.topology import ANALYTICS, BY_NAME, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service
from platform_core.vocabulary import (
    DONE,
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
"""Seconds that recovery may take after PENDING_SECONDS."""
OVERDUE = "interval '10 minutes'"
"""The age at which a pending outbox message is reported."""
SETTLING_SECONDS = 10.0
"""Seconds that the repair of an order waits for order-service's worker."""


class VerifyError(Exception):
    """A check cannot run. The message gives the reason."""


class AccessRefused(Exception):
    """A service answered 401 or 403."""


class Remedy(Enum):
    """What repairs a finding. The repair of a check does it."""

    RESERVE = auto()
    RELEASE = auto()
    REDRIVE = auto()
    ERASE = auto()


class Finding(NamedTuple):
    """A violation: the subject with its id, what is wrong with it, and what would repair it, if anything does."""

    subject: str
    problem: str
    remedy: Remedy | None = None


@dataclass(slots=True)
class Books:
    """Connections to the services' databases, and their URLs. ``token`` is an access token of the staff, if any."""

    connections: Mapping[str, psycopg.Connection[Any]]
    urls: Mapping[str, str]
    pending_seconds: int = 60
    outbox_retention_days: int = 7
    token: str = ""

    def rows(self, service: Service, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, streamed by a cursor."""
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
        """The decoded JSON answer to a GET. Raises AccessRefused (401, 403) and VerifyError."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(self.urls[service.package] + path, headers=headers)  # noqa: S310  # our own URL
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return json.loads(response.read(), parse_float=Decimal)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise AccessRefused(
                    f"{service.name} refuses access: set STAFF_TOKEN to an access token of the staff"
                ) from None
            raise VerifyError(f"{service.name} answers {path} with {error.code}") from None
        except OSError as error:
            raise VerifyError(f"{service.name} does not answer {path}: {error}") from None


@dataclass(frozen=True, slots=True)
class Check:
    """A check. ``repair`` fixes a finding if that is safe. It returns what it did, or "" if it did nothing."""

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
        yield Finding(f"product {product}", f"has {stock}, its movements add up to {moved}")


def reservations_match_their_movements(books: Books) -> Iterator[Finding]:
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
        yield Finding(f"order {order}", f"reservation {status} should have moved {held} pieces, but moved {moved}")


def stock_is_held_only_for_live_orders(books: Books) -> Iterator[Finding]:
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
        found = _mismatch(order, reservation, being_released=order_id in releasing)
        if found:
            yield Finding(f"order {order_id}", *found)


_UNDELIVERED_RELEASES = f"""
    SELECT payload->>'orderId' FROM outbox_outboxmessage
    WHERE kind = '{MessageKind.STOCK_RELEASE}' AND state <> 'delivered'
"""


def _mismatch(
    order: tuple[Any, ...] | None, reservation: tuple[Any, ...] | None, *, being_released: bool
) -> tuple[str, Remedy | None] | None:
    status = order[0] if order else "unknown"
    is_held = reservation is not None and reservation[0] == ReservationStatus.RESERVED
    if status in HOLDING_STOCK:
        if not is_held:
            return f"is {status} but holds no stock", Remedy.RESERVE
        if reservation and order and reservation[1] != order[1]:
            return f"holds {reservation[1]}, but orders {order[1]}", None
    elif status != OrderStatus.PENDING and is_held and not being_released:
        return f"is {status} but holds stock, and nothing is on its way to release it", Remedy.RELEASE
    return None


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
    if finding.remedy is Remedy.RESERVE:
        _queue(books, MessageKind.STOCK_RESERVE, order)
        return _reserved_or_cancelled(books, order)
    if finding.remedy is Remedy.RELEASE:
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


# Steps of an order that write a message to the customer and an event, each with the condition that it has been taken.
_STEPS = f"""
            ('{OrderStatus.CONFIRMED}', o.confirmed_at IS NOT NULL),
            ('{OrderStatus.CANCELLED}', o.status = '{OrderStatus.CANCELLED}'),
            ('{OrderStatus.SHIPPED}', o.status IN {sql_list((OrderStatus.SHIPPED, OrderStatus.DELIVERED))})
""".strip()


def every_step_has_its_message(books: Books) -> Iterator[Finding]:
    """Each step that an order has taken has written its message, and no other step has.

    Retention may have deleted the messages of orders that are older than it.
    """
    query = f"""
        SELECT o.id, expected.what FROM order_svc_order o
        CROSS JOIN LATERAL (VALUES
            {_STEPS},
            ('release', o.status IN {sql_list(WITHOUT_STOCK)})
        ) AS expected (what, wanted)
        LEFT JOIN outbox_outboxmessage m ON m.key = 'order-' || o.id || '-' || expected.what
        WHERE expected.wanted <> (m.id IS NOT NULL)
          AND (m.id IS NOT NULL OR o.created_at > now() - interval '{books.outbox_retention_days} days')
    """
    for order, what in books.rows(ORDER, query):
        yield Finding(f"order {order}", f"lacks its message {what!r}, or has it without that step")


def delivered_messages_arrived_once(books: Books) -> Iterator[Finding]:
    """Each delivered message exists exactly once in notification-service."""
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
            yield Finding(f"message {key}", "was delivered but does not exist")
        elif counted is not None and counted[0] != 1:
            yield Finding(f"message {key}", f"arrived {counted[0]} times")


def every_step_has_its_event(books: Books) -> Iterator[Finding]:
    """Each step that an order has taken has written exactly one event.

    After retention has deleted events, those of orders that are older than the oldest remaining event may be missing.
    """
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
                OR o.confirmed_at > (
                    SELECT time FROM events_event
                    WHERE (epoch, txid, id) > (SELECT epoch, txid, sequence FROM events_feedstart)
                    ORDER BY epoch, txid, id LIMIT 1
                )
            )
        )
    """
    for order, what, count in books.rows(ORDER, query):
        yield Finding(f"order {order}", f"has {count} events order.{what}")


def feeds_belong_to_this_server(books: Books) -> Iterator[Finding]:
    """No event has a transaction id that this server has not reached. Otherwise `new_epoch` was left out."""
    query = """
        SELECT count(*) FROM events_event
        WHERE epoch = coalesce((SELECT max(value) FROM events_feedepoch), 1)
          AND txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    """
    for service in SERVICES:
        if service.has_feed and (ahead := books.one(service, query)[0]):
            problem = f"has {ahead} events of another server: stop the platform, run `manage.py new_epoch`, start it"
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


def erased_persons_are_gone(books: Books) -> Iterator[Finding]:
    """Nothing personal is left of a person whose account was deleted, apart from open orders.

    User-service knows which persons were erased. A service that still has to be told is left out.
    """
    erased = {int(pk) for (pk,) in books.rows(USER, "SELECT user_id FROM platform_core_erasedperson")}
    if erased:
        awaited = set(books.rows(USER, _UNDELIVERED_ERASURES))
        for service in SERVICES:
            for where, user in _persons_in(books, service):
                if int(user) in erased and (str(user), service.name) not in awaited:
                    yield Finding(f"person {user} at {service.name}", f"was erased, but is in {where}", Remedy.ERASE)
    for key, user in books.rows(USER, _ANSWERS_WITH_USERS):
        if int(user) in erased:
            yield Finding(f"stored answer {key}", f"has data of person {user}, who was erased")
    for (key,) in books.rows(ORDER, _ANSWERS_WITH_CUSTOMERS):
        yield Finding(f"stored answer {key}", "has the customer of an order")


def _persons_in(books: Books, service: Service) -> Iterator[tuple[Any, ...]]:
    """Each row of a service that holds personal data and may not: what it is, and the person's id."""
    for query in (*_LEFT_OF_PERSONS.get(service, ()), _SHADOWS):
        yield from books.rows(service, query)


_UNDELIVERED_ERASURES = f"""
    SELECT payload->>'userId', payload->>'service' FROM outbox_outboxmessage
    WHERE kind = '{MessageKind.PERSON_ERASE}' AND state <> 'delivered'
"""
_SHADOWS = """
    SELECT 'an account of the admin', substr(username, 7) FROM auth_user
    WHERE username ~ '^staff:[0-9]+$' AND (email <> '' OR first_name <> '' OR last_name <> '' OR is_active)
"""
_LEFT_OF_PERSONS: Mapping[Service, tuple[str, ...]] = {
    USER: ("SELECT 'its account', id FROM user_svc_user",),
    ORDER: (
        f"""
        SELECT 'order ' || id, user_id FROM order_svc_order
        WHERE status IN {sql_list(DONE)} AND customer_email IS NOT NULL
        """,
    ),
    NOTIFICATION: (
        """
        SELECT 'notification ' || id, user_id FROM notification_svc_notification
        WHERE erased_at IS NULL OR recipient <> '' OR subject <> '' OR message <> '' OR data <> ''
        """,
    ),
}
"""Queries for rows with personal data: what the row is, and the person's id."""
_ANSWERS_WITH_USERS = """
    SELECT key, substr(headers->>'Location', 12) FROM platform_core_idempotencykey
    WHERE headers->>'Location' ~ '^/api/users/[0-9]+$' AND length(body) > 0
"""
_ANSWERS_WITH_CUSTOMERS = """
    SELECT key FROM platform_core_idempotencykey WHERE position('"customer":{'::bytea IN body) > 0
"""


def erase_again(books: Books, finding: Finding) -> str:
    """Queue the erasure once more at user-service, which is safe: the id is that of an account that was deleted."""
    if finding.remedy is not Remedy.ERASE:
        return ""
    _, user, _, name = finding.subject.split()
    service = BY_NAME[name]
    if service is USER:
        return ""
    payload = json.dumps({"userId": int(user), "service": name})
    books.connections[USER.package].execute(_ERASE, {"user": user, "stem": service.stem, "payload": payload})
    return "is being erased"


_ERASE = f"""
    INSERT INTO outbox_outboxmessage AS m
        (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id, traceparent,
         created_at)
    VALUES ('{MessageKind.PERSON_ERASE}', 'erasure', 'person:' || %(user)s::text || ':' || %(stem)s::text,
        'person-' || %(user)s::text || '-erase-' || %(stem)s::text, %(payload)s, 'pending', 0, now(), '', 'verify', '',
        now())
    ON CONFLICT (key) DO UPDATE SET state = 'pending', attempts = 0, available_at = now(), delivered_at = NULL
"""


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


def no_order_is_pending_for_too_long(books: Books) -> Iterator[Finding]:
    """No order has been pending longer than recovery needs."""
    query = f"""
        SELECT id, now() - created_at FROM order_svc_order
        WHERE status = '{OrderStatus.PENDING}'
          AND created_at < now() - interval '{books.pending_seconds + RECOVERY_SECONDS} seconds'
    """
    for order, age in books.rows(ORDER, query):
        yield Finding(f"order {order}", f"is pending for {age}")


def outboxes_are_drained(books: Books) -> Iterator[Finding]:
    """No message has been pending for longer than OVERDUE, and none is dead unless it was refused permanently.

    A permanent refusal, for example of a message to a user who does not exist, is not a broken promise. Neither is a
    webhook whose receiver does not take it.
    """
    query = f"""
        SELECT key, state, attempts, last_error FROM outbox_outboxmessage
        WHERE kind <> '{MessageKind.WEBHOOK_DELIVER}'
          AND ((state = 'dead' AND last_error NOT LIKE 'PermanentFailure%')
            OR (state = 'pending' AND created_at < now() - {OVERDUE}))
    """
    for service in (USER, ORDER, NOTIFICATION):
        for key, state, attempts, error in books.rows(service, query):
            problem = f"is {state} after {attempts} attempts: {error or 'no error'}"
            yield Finding(f"{service.package} {key}", problem, Remedy.REDRIVE if state == "dead" else None)


def redrive_message(books: Books, finding: Finding) -> str:
    """Give a dead message another series of attempts. This is safe because the receiver ignores a repeated key."""
    package, key = finding.subject.split(" ", 1)
    if finding.remedy is not Remedy.REDRIVE:
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


def analytics_equal_the_tables(books: Books) -> Iterator[Finding]:
    """The summary of analytics-service equals the counts in the services' tables."""
    before = _expected_figures(books)
    try:
        report = books.ask(ANALYTICS, "/api/analytics/summary")
    except AccessRefused as error:
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
            yield Finding(f"analytics {name}", f"says {reported[name]}, but the tables have {expected}")


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
    Check("reservations match their movements", reservations_match_their_movements),
    Check("stock is held only for live orders", stock_is_held_only_for_live_orders, settle_stock),
    Check("every step of an order has its message", every_step_has_its_message),
    Check("every step of an order has its event", every_step_has_its_event),
    Check("feeds belong to this server", feeds_belong_to_this_server),
    Check("no history is lost", no_history_is_lost),
    Check("no id is given out twice", no_id_is_given_out_twice),
    Check("delivered messages arrived once", delivered_messages_arrived_once),
    Check("no order is pending for too long", no_order_is_pending_for_too_long),
    Check("outboxes are drained", outboxes_are_drained, redrive_message),
    Check("erased persons are gone", erased_persons_are_gone, erase_again),
    Check("no background work is parked", no_background_work_is_parked, retry_parked),
    Check("analytics equal the services' tables", analytics_equal_the_tables),
)


@dataclass(slots=True)
class Result:
    """The findings of a check, and how long it took. ``repaired`` says for each repaired finding what was done."""

    check: Check
    findings: list[Finding]
    seconds: float
    repaired: dict[Finding, str] = field(default_factory=dict)


def verify(values: Mapping[str, Any], *, wait: float, repair: bool) -> int:
    """Run all checks, and print their results. The exit code: 1 if a finding is left that was not repaired.

    A check with findings is repeated for ``wait`` seconds; only findings that persist are reported. Raises VerifyError
    when a database or analytics-service cannot be reached.
    """
    console = Console(soft_wrap=True)
    try:
        with ExitStack() as stack, Progress(console=console, transient=True) as progress:
            books = _open(values, stack)
            task = progress.add_task("verifying", total=len(CHECKS))
            results = []
            for check in CHECKS:
                progress.update(task, description=check.promise)
                results.append(_run(check, books, wait, repair))
                progress.advance(task)
    except psycopg.OperationalError as error:
        raise VerifyError(f"A database cannot be read: {str(error).strip()}") from None
    _print_results(console, results)
    return 0 if all(len(result.findings) == len(result.repaired) for result in results) else 1


def _open(values: Mapping[str, Any], stack: ExitStack) -> Books:
    connections = {}
    for service in SERVICES:
        parts = database_parts(service, values)
        connections[service.package] = stack.enter_context(open_connection(**(parts or {}), autocommit=True))
    urls = {service.package: values[service.url_variable] for service in SERVICES}
    return Books(
        connections, urls, values["PENDING_SECONDS"], values["OUTBOX_RETENTION_DAYS"], values["STAFF_TOKEN"] or ""
    )


def _run(check: Check, books: Books, wait: float, repair: bool) -> Result:
    began = time.monotonic()
    findings = lasting = _found(check, books, began + wait)
    while findings and time.monotonic() - began < wait:
        time.sleep(0.5)
        before = {finding.subject for finding in findings}
        findings = _found(check, books, began + wait)
        # A finding that is new in this round may be work in progress, so it does not count.
        lasting = [finding for finding in findings if finding.subject in before]
    result = Result(check, lasting, time.monotonic() - began)
    if repair and check.repair:
        result.repaired = {f: done for f in lasting if (done := check.repair(books, f))}
    return result


def _found(check: Check, books: Books, until: float) -> list[Finding]:
    """The present findings. A check that cannot run is tried again until ``until``: the service may come back."""
    while True:
        try:
            return list(check.find(books))
        except VerifyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _print_results(console: Console, results: list[Result]) -> None:
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
