"""order-service."""

import hashlib
import json
from decimal import Decimal

import requests
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Sum
from django.utils.timezone import now
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from benchmarks.contenders.stock.errors import Conflict, Unavailable, Unprocessable
from benchmarks.contenders.stock.events import append
from benchmarks.contenders.stock.models import Order, OrderLine, OutboxMessage
from benchmarks.contenders.stock.serializers import NewOrderSerializer, OrderSerializer

TIMEOUT = 5
RULES = ("insufficient_stock", "unknown_product")
session = requests.Session()


class OrderViewSet(ModelViewSet):
    queryset = Order.objects.prefetch_related("lines")
    serializer_class = OrderSerializer
    http_method_names = ["get", "post", "head", "options"]
    lookup_value_regex = "[0-9]{1,18}"

    def create(self, request):
        serializer = NewOrderSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        key = request.headers.get("Idempotency-Key")
        fingerprint = hashlib.sha256(json.dumps(request.data, sort_keys=True).encode()).digest() if key else None
        if key:
            earlier = self.get_queryset().filter(caller="", idempotency_key=key).first()
            if earlier:
                return replay(earlier, fingerprint)
        order = place_order(serializer.validated_data, key, fingerprint)
        if order.refusal:
            return refused(order)
        return placed(order)


def placed(order):
    return Response(OrderSerializer(order).data, status=201, headers={"Location": f"/api/orders/{order.pk}"})


def refused(order):
    return Response(order.refusal["body"], status=order.refusal["status"])


def replay(order, fingerprint):
    if bytes(order.fingerprint) != fingerprint:
        raise Unprocessable("idempotency_key_reused", "This key was used with another request.")
    if order.status == "pending":
        raise in_progress()
    response = refused(order) if order.refusal else placed(order)
    response["Idempotent-Replayed"] = "true"
    return response


def in_progress():
    return Conflict("idempotency_in_progress", "The first request with this key is still running.")


def place_order(data, key, fingerprint):
    """Confirms the order, or rejects it by a rule."""
    quantities = {}
    for item in data["items"]:
        quantities[item["productId"]] = quantities.get(item["productId"], 0) + item["quantity"]
    check_user(data["userId"])
    order = open_order(data["userId"], quantities, key, fingerprint)
    try:
        reply = reserve_stock(order, quantities)
        if reply.status_code in (409, 422) and reply.json()["code"] in RULES:
            refusal = {"status": reply.status_code, "body": reply.json()}
            reject(order, reply.json()["code"], refusal=refusal)
            order.refusal = refusal
            return order
        reply.raise_for_status()
        return confirm(order, reply.json())
    except requests.RequestException:
        reject(order, "unavailable", idempotency_key=None)
        raise Unavailable("unavailable", "product-service does not answer at the moment.") from None


def check_user(user_id):
    try:
        reply = session.get(f"{settings.URLS['user']}/api/users/{user_id}", timeout=TIMEOUT)
        if reply.status_code == 404:
            raise Unprocessable("unknown_user", f"There is no user {user_id}.")
        reply.raise_for_status()
    except requests.RequestException:
        raise Unavailable("unavailable", "user-service does not answer at the moment.") from None


def open_order(user_id, quantities, key, fingerprint):
    """Commits the pending order before the reservation."""
    try:
        with transaction.atomic():
            order = Order.objects.create(user_id=user_id, idempotency_key=key, fingerprint=fingerprint)
            OrderLine.objects.bulk_create(
                OrderLine(order=order, product_id=product_id, quantity=quantity)
                for product_id, quantity in quantities.items()
            )
    except IntegrityError:
        raise in_progress() from None
    return order


def reserve_stock(order, quantities):
    items = [{"productId": product_id, "quantity": quantity} for product_id, quantity in quantities.items()]
    url = f"{settings.URLS['product']}/api/stock-reservations/{order.pk}"
    return session.put(url, json={"items": items}, timeout=TIMEOUT)


@transaction.atomic
def confirm(order, reservation):
    reserved = {int(item["productId"]): item for item in reservation["items"]}
    lines = list(order.lines.all())
    for line in lines:
        line.name = reserved[line.product_id]["name"]
        line.unit_price = Decimal(str(reserved[line.product_id]["unitPrice"]))
        line.subtotal = line.unit_price * line.quantity
    total = sum(line.subtotal for line in lines)
    pending = Order.objects.filter(pk=order.pk, status="pending")
    changes = {"status": "confirmed", "version": F("version") + 1, "total": total}
    if not pending.update(**changes, confirmed_at=now(), updated_at=now()):
        raise Unavailable("unavailable", "The order was rejected by recovery before it could be confirmed.")
    OrderLine.objects.bulk_update(lines, ["name", "unit_price", "subtotal"])
    order = Order.objects.prefetch_related("lines").get(pk=order.pk)
    append("order.confirmed", order.pk, snapshot(order))
    notify(order)
    return order


def snapshot(order):
    answer = OrderSerializer(order).data
    names = ("userId", "status", "total", "currency", "createdAt", "items")
    return {"version": order.version, **{name: answer[name] for name in names}}


def notify(order):
    rows = [f"{line.quantity} × {line.name}: {line.subtotal} {order.currency}" for line in order.lines.all()]
    text = "\n".join(["Thank you for your order.", "", *rows, "", f"Total: {order.total} {order.currency}"])
    subject = f"Order {order.pk} is confirmed"
    OutboxMessage.objects.create(
        kind="notification.send",
        destination="notification-service",
        aggregate=f"order:{order.pk}",
        key=f"order-{order.pk}-confirmed",
        payload={"user_id": order.user_id, "type": "order_confirmed", "subject": subject, "message": text},
    )


@transaction.atomic
def reject(order, reason, **changes):
    pending = Order.objects.filter(pk=order.pk, status="pending")
    if pending.update(status="rejected", version=F("version") + 1, updated_at=now(), reason=reason, **changes):
        OutboxMessage.objects.create(
            kind="stock.release",
            destination="product-service",
            aggregate=f"order:{order.pk}",
            key=f"order-{order.pk}-release",
            payload={"orderId": order.pk},
        )


@api_view()
def stats(request):
    placed = Order.objects.exclude(status__in=["pending", "rejected"]).order_by()
    rows = list(placed.values("status").annotate(count=Count("id"), total=Sum("total")))
    paid = [row for row in rows if row["status"] != "cancelled"]
    revenue, number = float(sum(row["total"] for row in paid)), sum(row["count"] for row in paid)
    by_status = dict.fromkeys(("confirmed", "shipped", "delivered", "cancelled"), 0)
    by_status |= {row["status"]: row["count"] for row in rows}
    average = round(revenue / number, 2) if number else 0
    total = sum(by_status.values())
    return Response({"total": total, "byStatus": by_status, "revenue": revenue, "averageOrderValue": average})
