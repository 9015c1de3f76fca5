"""The catalog, its stock, and the reservations of stock."""

from collections.abc import Collection

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from platform_core.db import Alike
from platform_core.models import Resource
from platform_core.vocabulary import ReservationStatus
from product_svc.search import ProductVector
from product_svc.stock_levels import MAX_STOCK, SOLD_OUT, StockLevel

SKU_TAKEN = "product_sku_taken"
STOCK_CHECK = "product_stock_not_negative"


class Product(Resource):
    """A product. The row of a deleted product is kept, so that its reservations can still be released."""

    name = models.CharField(max_length=200)
    description = models.TextField(max_length=5000, blank=True, default="")
    category = models.CharField(max_length=100, blank=True, default="")
    sku = models.CharField(max_length=64, null=True, blank=True)
    price = models.DecimalField(max_digits=12, decimal_places=2)
    stock = models.BigIntegerField(default=0, validators=[MaxValueValidator(MAX_STOCK)])
    low_stock_threshold = models.BigIntegerField(
        null=True,
        blank=True,
        default=None,
        validators=[MinValueValidator(0), MaxValueValidator(MAX_STOCK)],
        help_text="The stock is low at this many pieces or fewer. Empty: as for the whole shop.",
    )
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    stock_level = models.GeneratedField(
        expression=StockLevel("stock"), output_field=models.SmallIntegerField(), db_persist=True
    )
    text = models.GeneratedField(
        expression=ProductVector("name", "sku", "category", "description"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=Q(stock__gte=0), name=STOCK_CHECK),
            models.CheckConstraint(condition=Q(price__gte=0), name="product_price_not_negative"),
            models.CheckConstraint(condition=Q(low_stock_threshold__gte=0), name="product_threshold_not_negative"),
            models.UniqueConstraint(
                "sku",
                condition=Q(deleted_at=None),
                name=SKU_TAKEN,
                violation_error_code="sku_taken",
                violation_error_message="Another product has this sku.",
            ),
        )
        indexes = (
            GinIndex(fields=("text",), name="product_text"),
            models.Index("id", condition=Q(deleted_at=None), name="product_live"),
            models.Index(Alike("category"), "id", condition=Q(deleted_at=None), name="product_by_category"),
            models.Index("price", "id", condition=Q(deleted_at=None), name="product_by_price"),
            models.Index("name", "id", condition=Q(deleted_at=None), name="product_by_name"),
            # No index may name `stock`, also not in its condition: a change of the stock would write all indexes.
            models.Index("stock_level", "id", condition=Q(deleted_at=None), name="product_by_stock_level"),
            models.Index("id", condition=Q(deleted_at=None, stock_level__gt=SOLD_OUT), name="product_available"),
            models.Index(
                "low_stock_threshold",
                "id",
                condition=Q(deleted_at=None, low_stock_threshold__isnull=False),
                name="product_by_threshold",
            ),
        )

    @property
    def currency(self) -> str:
        """The currency of the price: the shop's."""
        return settings.CURRENCY

    def __str__(self) -> str:
        return self.name

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Checks that the sku is unique among products that are not deleted, also if a form omits `deleted_at`."""
        super().validate_constraints(exclude=set(exclude or ()) - {"deleted_at"})


class StockMovement(models.Model):
    """One change of a product's stock. The stock always equals the sum of the movements.

    ``actor`` is who made it (`Identity.caller`): ``user:7``, ``service:order-service``, ``local:NAME`` for a local
    account of the admin, ``anonymous``, or ``command`` for `manage.py`. Movements of earlier versions have none.
    """

    class Reason(models.TextChoices):
        INITIAL = "initial"
        ADJUSTMENT = "adjustment"
        RESERVATION = "reservation"
        RELEASE = "release"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="movements", db_index=False)
    delta = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=Reason.choices)
    reason = models.CharField(max_length=200, blank=True, default="")
    note = models.CharField(max_length=500, blank=True, default="", db_default="")
    actor = models.CharField(max_length=200, blank=True, default="", db_default="")
    order_id = models.BigIntegerField(null=True, blank=True)
    stock = models.BigIntegerField(help_text="The stock after the movement.")
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("product", "id"), name="movement_by_product"),
            models.Index(fields=("kind", "id"), name="movement_by_kind"),
            models.Index(fields=("order_id",), condition=Q(order_id__isnull=False), name="movement_by_order"),
            models.Index(fields=("created_at",), name="movement_by_time"),
        )
        constraints = (models.CheckConstraint(condition=~Q(delta=0), name="movement_moves"),)

    def __str__(self) -> str:
        return f"{self.delta:+d}"


class StockReservation(models.Model):
    """The stock reserved for an order. A released reservation is kept as a tombstone, which refuses a late reserve."""

    Status = ReservationStatus

    order_id = models.BigIntegerField(primary_key=True)
    status = models.CharField(max_length=16, choices=ReservationStatus.choices)
    created_at = models.DateTimeField(default=now)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-order_id",)
        constraints = (
            models.CheckConstraint(condition=Q(status__in=ReservationStatus.values), name="reservation_status_known"),
        )

    @property
    def currency(self) -> str:
        """The currency of its prices: the shop's."""
        return settings.CURRENCY

    def __str__(self) -> str:
        return f"order {self.order_id}"


class ReservationLine(models.Model):
    """A quantity of one product, with its name and price at the time of the reservation."""

    reservation = models.ForeignKey(StockReservation, on_delete=models.CASCADE, related_name="lines", db_index=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+", db_index=False)
    name = models.CharField(max_length=200)
    unit_price = models.DecimalField(max_digits=12, decimal_places=2)
    quantity = models.BigIntegerField()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("reservation", "product"), name="reservation_line_once_per_product"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="reservation_line_quantity_positive"),
        )

    def __str__(self) -> str:
        return f"{self.quantity} × {self.name}"
