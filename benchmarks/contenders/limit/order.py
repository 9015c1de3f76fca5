"""order-service: the list, and the saga, each of whose transactions is one statement."""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from benchmarks.contenders.limit import feed, peers
from benchmarks.contenders.limit.database import execute
from benchmarks.contenders.limit.wire import (
    Answer,
    Environ,
    Refused,
    body_of,
    encode,
    limit_of,
    page,
    query_of,
    served,
    trace_of,
)

_CURRENCY = "USD"
_SECRET = b"limit"
_RULES = ("insufficient_stock", "unknown_product")

_ITEMS = """(
    SELECT coalesce(json_agg(json_build_object(
        'productId', l.product_id::text, 'name', l.name, 'unitPrice', l.unit_price, 'quantity', l.quantity,
        'subtotal', l.subtotal
    ) ORDER BY l.id), '[]')::text FROM order_svc_orderline l WHERE l.order_id = o.id
)"""
_FIND = f"""
    SELECT o.id::text, o.user_id::text, o.status, {_ITEMS}, o.total, o.currency, o.reason, o.created_at, o.updated_at
    FROM order_svc_order o WHERE o.id < %(before)s ORDER BY o.id DESC LIMIT %(limit)s
"""
_EARLIER = f"""
    SELECT o.status, o.fingerprint, o.refusal::text,
        o.id::text, o.user_id::text, 'confirmed', {_ITEMS}, o.total, o.currency, '', o.created_at, o.confirmed_at
    FROM order_svc_order o WHERE o.caller = '' AND o.idempotency_key = %(key)s
"""
_OPEN = f"""
    WITH opened AS (
        INSERT INTO order_svc_order (user_id, status, version, currency, reason, steps, caller, idempotency_key,
            fingerprint, request_id, traceparent, created_at, updated_at)
        VALUES (%(user_id)s, 'pending', 1, '{_CURRENCY}', '', %(steps)s::jsonb, '', %(key)s,
            %(fingerprint)s, %(request_id)s, %(traceparent)s, now(), now())
        ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id, created_at
    ), line AS (
        INSERT INTO order_svc_orderline (order_id, product_id, quantity)
        SELECT opened.id, w.product_id, w.quantity FROM opened, unnest(%(ids)s::bigint[], %(numbers)s::int[])
            WITH ORDINALITY AS w (product_id, quantity, place) ORDER BY w.place
    )
    SELECT id, created_at FROM opened
"""
_MESSAGE = """
    INSERT INTO outbox_outboxmessage (kind, destination, aggregate, key, payload, state, attempts, available_at,
        last_error, request_id, traceparent, created_at)
    SELECT %(kind)s, %(destination)s, 'order:' || id, 'order-' || id || %(what)s, %(payload)s::jsonb, 'pending', 0,
        now(), '', %(request_id)s, %(traceparent)s, now()
    FROM moved
"""
_CONFIRM = f"""
    WITH moved AS (
        UPDATE order_svc_order SET status = 'confirmed', version = version + 1, updated_at = %(at)s, total = %(total)s,
            confirmed_at = %(at)s, steps = %(steps)s::jsonb
        WHERE id = %(id)s AND status = 'pending' RETURNING id
    ), priced AS (
        UPDATE order_svc_orderline AS line
        SET name = p.name, unit_price = p.unit_price, subtotal = p.unit_price * line.quantity
        FROM moved, unnest(%(ids)s::bigint[], %(names)s::text[], %(prices)s::numeric[])
            AS p (product_id, name, unit_price)
        WHERE line.order_id = moved.id AND line.product_id = p.product_id
    ), event AS (
        INSERT INTO events_event ({feed.COLUMNS})
        SELECT {feed.PLACE}, 'order.confirmed', id::text, %(data)s::jsonb, clock_timestamp(),
            %(request_id)s, %(traceparent)s
        FROM moved
    )
    {_MESSAGE}
"""
_REJECT = f"""
    WITH moved AS (
        UPDATE order_svc_order SET status = 'rejected', version = version + 1, updated_at = now(), reason = %(reason)s,
            refusal = %(refusal)s::jsonb, steps = %(steps)s::jsonb,
            idempotency_key = CASE WHEN %(refusal)s::jsonb IS NOT NULL THEN idempotency_key END
        WHERE id = %(id)s AND status = 'pending' RETURNING id
    )
    {_MESSAGE}
"""
_BEHIND_ALL = 2**63 - 1


class NewItem(msgspec.Struct, rename="camel"):
    product_id: int | str
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]


class NewOrder(msgspec.Struct, rename="camel"):
    user_id: int | str
    items: Annotated[list[NewItem], Meta(max_length=100)] = []
    product_id: int | str | None = None
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None

    def quantities(self) -> dict[int, int]:
        """Pieces by product. Raises ValueError."""
        items = self.items
        if self.product_id is not None and self.quantity is not None:
            items = [NewItem(self.product_id, self.quantity)]
        if not items:
            raise ValueError("items: expected some.")
        found: dict[int, int] = {}
        for item in items:
            found[int(item.product_id)] = found.get(int(item.product_id), 0) + item.quantity
        return found


class Line(msgspec.Struct, rename="camel"):
    product_id: str
    name: str
    unit_price: Decimal
    quantity: int
    subtotal: Decimal = Decimal(0)


class Reservation(msgspec.Struct):
    items: list[Line]


class Order(msgspec.Struct, rename="camel"):
    id: str
    user_id: str
    status: str
    items: Any
    total: Decimal | None
    currency: str
    reason: str
    created_at: datetime
    updated_at: datetime


class Saga(msgspec.Struct):
    """An order during the saga. ``values`` are parameters of every statement."""

    user_id: int
    quantities: dict[int, int]
    values: dict[str, Any]
    steps: dict[str, Any] = {}
    id: int = 0
    created_at: datetime = datetime.min

    def ask(self, step: str, service: str, method: str, path: str, body: bytes | None = None) -> peers.PeerAnswer:
        """Calls a peer and records the duration in the order's row. Raises Refused."""
        at, began, error = datetime.now(UTC).isoformat(), time.perf_counter(), "unreachable"
        try:
            answer = peers.ask(service, method, path, body, self.values)
            error = "" if answer.status < 400 else f"status {answer.status}"
        finally:
            took = round((time.perf_counter() - began) * 1000, 1)
            self.steps[step] = {"at": at, "ms": took, "attempts": 1, "error": error}
        return answer

    def known(self) -> dict[str, Any]:
        return {**self.values, "id": self.id, "steps": encode(self.steps).decode()}


_new_order = msgspec.json.Decoder(NewOrder).decode
_reservation = msgspec.json.Decoder(Reservation).decode
_canonical = msgspec.json.Encoder(order="sorted").encode


def find(environ: Environ, name: str) -> Answer:
    query = query_of(environ)
    limit = limit_of(query)
    values = {"before": int(query.get("before", _BEHIND_ALL)), "limit": limit + 1}
    return page(environ, query, limit, [_order(row) for row in execute(_FIND, values)])


def _order(row: Any) -> Order:
    order = Order(*row)
    order.items = msgspec.Raw(order.items.encode())
    return order


def place(environ: Environ, name: str) -> Answer:
    body = body_of(environ)
    wanted = _new_order(body)
    saga = Saga(int(wanted.user_id), wanted.quantities(), trace_of(environ))
    key, fingerprint = environ.get("HTTP_IDEMPOTENCY_KEY"), None
    if key is not None:
        fingerprint = hmac.digest(_SECRET, b"/api/orders\0" + _canonical(msgspec.json.decode(body)), hashlib.sha256)
        earlier = _earlier(key, fingerprint)
        if earlier:
            return earlier
    _check_user(saga)
    _open(saga, key, fingerprint)
    try:
        items = [{"productId": product, "quantity": n} for product, n in saga.quantities.items()]
        path = f"/api/stock-reservations/{saga.id}"
        return _concluded(saga, saga.ask("stock", "product", "PUT", path, encode({"items": items})))
    except Exception as error:
        if not isinstance(error, Refused) or error.status == 503:
            _reject(saga, "unavailable")
        raise


def _earlier(key: str, fingerprint: bytes) -> Answer | None:
    """The answer of the order that has this key. Raises Refused."""
    row = execute(_EARLIER, {"key": key}).fetchone()
    if row is None:
        return None
    status, known, refusal, *columns = row
    if not hmac.compare_digest(known, fingerprint):
        raise Refused(422, "idempotency_key_reused")
    if status == "pending":
        raise Refused(409, "idempotency_in_progress")
    if refusal:
        repeated = Refused(**msgspec.json.decode(refusal))
        repeated.headers = (("Idempotent-Replayed", "true"),)
        raise repeated
    return _placed(_order(columns), ("Idempotent-Replayed", "true"))


def _check_user(saga: Saga) -> None:
    answer = saga.ask("user", "user", "GET", f"/api/users/{saga.user_id}")
    if answer.status == 404:
        raise Refused(422, "unknown_user", f"There is no user {saga.user_id}.")
    if answer.status != 200:
        raise Refused(503, "unavailable", "user-service does not answer at the moment.")


def _open(saga: Saga, key: str | None, fingerprint: bytes | None) -> None:
    """Commits the pending order. Raises Refused if a concurrent request has the key."""
    values = {"user_id": saga.user_id, "key": key, "fingerprint": fingerprint}
    values |= {"ids": list(saga.quantities), "numbers": list(saga.quantities.values())}
    opened = execute(_OPEN, {**saga.known(), **values}).fetchone()
    if opened is None:
        raise Refused(409, "idempotency_in_progress")
    saga.id, saga.created_at = opened


def _concluded(saga: Saga, answer: peers.PeerAnswer) -> Answer:
    """Confirms or rejects the order after the answer of product-service. Raises Refused."""
    if answer.status in (200, 201):
        return _confirm(saga, _reservation(answer.body).items)
    problem = msgspec.json.decode(answer.body)
    if answer.status not in (409, 422) or problem["code"] not in _RULES:
        raise Refused(503, "unavailable", "product-service does not answer at the moment.")
    refusal = {"status": answer.status, **{name: problem[name] for name in ("code", "detail", "errors")}}
    if not _reject(saga, problem["code"], encode(refusal).decode()):
        raise Refused(503, "unavailable", "The order was given up.")
    raise Refused(**refusal)


def _confirm(saga: Saga, lines: list[Line]) -> Answer:
    for line in lines:
        line.subtotal = line.unit_price * line.quantity
    total, at = sum((line.subtotal for line in lines), Decimal(0)), datetime.now(UTC)
    order = Order(str(saga.id), str(saga.user_id), "confirmed", lines, total, _CURRENCY, "", saga.created_at, at)
    values = {
        "at": at,
        "total": total,
        "ids": [int(line.product_id) for line in lines],
        "names": [line.name for line in lines],
        "prices": [line.unit_price for line in lines],
        "data": _snapshot(order),
        "kind": "notification.send",
        "destination": "notification-service",
        "what": "-confirmed",
        "payload": _notification(saga, order),
    }
    if not execute(_CONFIRM, {**saga.known(), **values}).rowcount:
        raise Refused(503, "unavailable", "The order was rejected by recovery before it could be confirmed.")
    return _placed(order)


def _snapshot(order: Order) -> str:
    data = {"version": 2, "userId": order.user_id, "status": order.status, "total": order.total}
    data |= {"currency": order.currency, "createdAt": order.created_at, "items": order.items}
    return encode(data).decode()


def _notification(saga: Saga, order: Order) -> str:
    rows = [f"{line.quantity} × {line.name}: {line.subtotal} {_CURRENCY}" for line in order.items]
    text = "\n".join(["Thank you for your order.", "", *rows, "", f"Total: {order.total} {_CURRENCY}"])
    payload = {"user_id": saga.user_id, "type": "order_confirmed"}
    return encode({**payload, "subject": f"Order {order.id} is confirmed", "message": text}).decode()


def _reject(saga: Saga, reason: str, refusal: str | None = None) -> bool:
    """Rejects the order. Without a stored ``refusal`` the key is free again. False if it was not pending any more."""
    message = {"kind": "stock.release", "destination": "product-service", "what": "-release"}
    message["payload"] = f'{{"orderId": {saga.id}}}'
    return execute(_REJECT, {**saga.known(), **message, "reason": reason, "refusal": refusal}).rowcount == 1


def _placed(order: Order, *headers: tuple[str, str]) -> Answer:
    return Answer(201, encode(order), (("Location", f"/api/orders/{order.id}"), ("ETag", '"2"'), *headers))


application = served({"GET /api/orders": find, "POST /api/orders": place, "GET /api/events": feed.feed_of("order")})
