"""The platform's tables, as far as they are needed here."""

from django.db import models
from django.utils.timezone import now


class User(models.Model):
    name = models.CharField(max_length=200)
    email = models.EmailField(max_length=254)
    phone = models.CharField(max_length=50, blank=True, default="")
    address = models.CharField(max_length=500, blank=True, default="")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        managed = False
        db_table = "user_svc_user"
        ordering = ("-id",)

    def __str__(self):
        return self.name


class Product(models.Model):
    name = models.CharField(max_length=200)
    description = models.TextField(max_length=5000, blank=True, default="")
    category = models.CharField(max_length=100, blank=True, default="")
    sku = models.CharField(max_length=64, null=True, blank=True)
    price = models.DecimalField(max_digits=12, decimal_places=2)
    stock = models.BigIntegerField(default=0)
    version = models.BigIntegerField(default=1)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        managed = False
        db_table = "product_svc_product"
        ordering = ("-id",)

    def __str__(self):
        return self.name


class StockMovement(models.Model):
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="movements")
    delta = models.BigIntegerField()
    kind = models.CharField(max_length=16)
    reason = models.CharField(max_length=200, blank=True, default="")
    order_id = models.BigIntegerField(null=True)
    stock = models.BigIntegerField()
    created_at = models.DateTimeField(default=now)

    class Meta:
        managed = False
        db_table = "product_svc_stockmovement"

    def __str__(self):
        return f"{self.delta:+d}"


class StockReservation(models.Model):
    order_id = models.BigIntegerField(primary_key=True)
    status = models.CharField(max_length=16, default="reserved")
    created_at = models.DateTimeField(default=now)
    released_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "product_svc_stockreservation"

    def __str__(self):
        return f"order {self.order_id}"


class ReservationLine(models.Model):
    reservation = models.ForeignKey(StockReservation, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    unit_price = models.DecimalField(max_digits=12, decimal_places=2)
    quantity = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "product_svc_reservationline"

    def __str__(self):
        return f"{self.quantity} × {self.name}"


class Order(models.Model):
    user_id = models.BigIntegerField()
    status = models.CharField(max_length=16, default="pending")
    total = models.DecimalField(max_digits=24, decimal_places=2, null=True)
    currency = models.CharField(max_length=3, default="USD")
    reason = models.CharField(max_length=64, blank=True, default="")
    refusal = models.JSONField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    steps = models.JSONField(default=dict)
    caller = models.CharField(max_length=200, blank=True, default="")
    idempotency_key = models.CharField(max_length=255, null=True)
    fingerprint = models.BinaryField(max_length=32, null=True)
    request_id = models.CharField(max_length=128, blank=True, default="")
    traceparent = models.CharField(max_length=64, blank=True, default="")
    version = models.BigIntegerField(default=1)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        managed = False
        db_table = "order_svc_order"
        ordering = ("-id",)

    def __str__(self):
        return f"order {self.pk}"


class OrderLine(models.Model):
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    product_id = models.BigIntegerField()
    quantity = models.IntegerField()
    name = models.CharField(max_length=200, null=True)
    unit_price = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    subtotal = models.DecimalField(max_digits=20, decimal_places=2, null=True)

    class Meta:
        managed = False
        db_table = "order_svc_orderline"
        ordering = ("id",)

    def __str__(self):
        return f"{self.quantity} × product {self.product_id}"


class Notification(models.Model):
    status = models.CharField(max_length=16)

    class Meta:
        managed = False
        db_table = "notification_svc_notification"

    def __str__(self):
        return f"notification {self.pk}"


class OutboxMessage(models.Model):
    kind = models.CharField(max_length=64)
    destination = models.CharField(max_length=64)
    aggregate = models.CharField(max_length=64)
    key = models.CharField(max_length=255, unique=True)
    payload = models.JSONField()
    state = models.CharField(max_length=16, default="pending")
    attempts = models.PositiveIntegerField(default=0)
    available_at = models.DateTimeField(default=now)
    last_error = models.TextField(blank=True, default="")
    request_id = models.CharField(max_length=128, blank=True, default="")
    traceparent = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(default=now)

    class Meta:
        managed = False
        db_table = "outbox_outboxmessage"

    def __str__(self):
        return self.key


class FeedEpoch(models.Model):
    value = models.PositiveIntegerField(unique=True)

    class Meta:
        managed = False
        db_table = "events_feedepoch"

    def __str__(self):
        return str(self.value)


class Event(models.Model):
    epoch = models.PositiveIntegerField()
    txid = models.BigIntegerField()
    type = models.CharField(max_length=64)
    subject = models.CharField(max_length=64)
    data = models.JSONField()
    time = models.DateTimeField(default=now)
    request_id = models.CharField(max_length=128, blank=True, default="")
    traceparent = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        managed = False
        db_table = "events_event"

    def __str__(self):
        return f"{self.type} {self.subject}"
