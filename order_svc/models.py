"""Orders and their lines."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from platform_core.models import Resource
from platform_core.vocabulary import UNPLACED, OrderStatus

SETTLED = Q(status__in=[status.value for status in OrderStatus if status != OrderStatus.PENDING])


class Order(Resource):
    """An order, from the moment of its request. `platform_core.vocabulary` documents the statuses.

    It stores the Idempotency-Key of the request that placed it. If the order is rejected and a retry may succeed, the
    key is removed, so that it can be used again.

    A confirmed order has the customer's name, email and address of that moment. They are NULL after the person was
    erased, and for orders of version 0.1.
    """

    Status = OrderStatus

    user_id = models.BigIntegerField()
    status = models.CharField(max_length=16, choices=OrderStatus.choices, default=OrderStatus.PENDING)
    customer_name = models.CharField(max_length=200, null=True, blank=True)
    customer_email = models.CharField(max_length=254, null=True, blank=True)
    customer_address = models.CharField(max_length=500, null=True, blank=True)
    total = models.DecimalField(max_digits=24, decimal_places=2, null=True, blank=True)
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=64, blank=True, default="", help_text="Why it was rejected: an error's code.")
    refusal = models.JSONField(
        null=True, blank=True, help_text="The response of the rejection, for repetitions with the same key."
    )
    confirmed_at = models.DateTimeField(null=True, blank=True)
    steps = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="Durations of the calls to peers while the order was placed."
    )
    caller = models.CharField(max_length=200, blank=True, default="")
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    fingerprint = models.BinaryField(max_length=32, null=True, blank=True)
    request_id = models.CharField(max_length=128, blank=True, default="")
    traceparent = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        ordering = ("-id",)
        constraints = (
            # In this order, so that an order is found by its key without the caller, too.
            models.UniqueConstraint(
                fields=("idempotency_key", "caller"),
                name="order_once_per_key",
                condition=Q(idempotency_key__isnull=False),
            ),
            models.CheckConstraint(condition=Q(status__in=OrderStatus.values), name="order_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in UNPLACED])
                | Q(total__isnull=False, confirmed_at__isnull=False),
                name="order_confirmed_has_total",
            ),
            models.CheckConstraint(
                condition=Q(customer_name=None, customer_email=None, customer_address=None)
                | Q(customer_name__isnull=False, customer_email__isnull=False, customer_address__isnull=False),
                name="order_customer_is_whole",
            ),
        )
        indexes = (
            models.Index(fields=("user_id", "id"), name="order_by_user"),
            # An order is written twice, so pending orders are in few indexes; `order_pending` finds them.
            models.Index(fields=("status", "id"), name="order_settled_by_status", condition=SETTLED),
            models.Index(fields=("user_id", "status", "id"), name="order_by_user_and_status"),
            models.Index(fields=("created_at",), name="order_by_creation"),
            models.Index(fields=("status", "created_at"), name="order_settled_by_status_time", condition=SETTLED),
            models.Index(fields=("request_id",), name="order_by_request"),
            models.Index(
                Lower("customer_email"), "id", name="order_by_known_email", condition=Q(customer_email__isnull=False)
            ),
            models.Index(fields=("created_at",), name="order_pending", condition=Q(status=OrderStatus.PENDING.value)),
        )

    def __str__(self) -> str:
        return f"order {self.pk}"


class OrderTransition(models.Model):
    """A status that a placed order took, when, and who caused it. Written in the transaction of the change.

    ``actor`` is a caller such as ``user:7``, or a part of the system such as ``system:recovery``
    (`order_svc.actors`). It holds no name. Who placed the order is its ``caller``, and only the saga confirms, so
    neither has a row: that would cost each order two.
    """

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="transitions", db_index=False)
    status = models.CharField(max_length=16, choices=OrderStatus.choices)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=("order", "id"), name="order_transition_by_order"),)

    def __str__(self) -> str:
        return f"{self.status} by {self.actor}"


class OrderLine(models.Model):
    """A quantity of one product. Name and price are copied when the order is confirmed."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines", db_index=False)
    product_id = models.BigIntegerField()
    quantity = models.IntegerField()
    name = models.CharField(max_length=200, null=True, blank=True)
    unit_price = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    subtotal = models.DecimalField(max_digits=20, decimal_places=2, null=True, blank=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("order", "product_id"), name="order_line_once_per_product"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="order_line_quantity_positive"),
        )
        indexes = (models.Index(fields=("product_id", "order"), name="order_line_by_product"),)

    def __str__(self) -> str:
        return f"{self.quantity} × product {self.product_id}"
