"""Read models, updated from the services' event feeds. `analytics_svc rebuild` rebuilds all of them."""

from django.db import models


class FeedPosition(models.Model):
    """The position up to which a feed has been applied. It changes in the same transaction as the figures.

    A generation is one set of read models. A rebuild fills a new generation and then makes it live.
    """

    service = models.CharField(max_length=64)
    generation = models.PositiveIntegerField(default=1)
    live = models.BooleanField(default=True, help_text="Reports use this generation.")
    time_zone = models.CharField(
        max_length=64, default="UTC", db_default="UTC", help_text="Where the days of the figures begin and end."
    )
    last_event_id = models.CharField(max_length=64, blank=True, default="")
    caught_up_at = models.DateTimeField(null=True, blank=True)
    rebuilding_until = models.DateTimeField(
        null=True, blank=True, help_text="A rebuild is running until this time. It renews the time."
    )

    class Meta:
        ordering = ("-generation", "service")
        constraints = (
            models.UniqueConstraint(fields=("generation", "service"), name="position_once_per_service"),
            models.UniqueConstraint(fields=("service",), condition=models.Q(live=True), name="position_live_once"),
        )

    def __str__(self) -> str:
        return self.service


class Fact(models.Model):
    """The latest known state of one resource. Its contribution to the figures is computed from it."""

    generation = models.PositiveIntegerField()
    kind = models.CharField(max_length=16)
    resource_id = models.BigIntegerField()
    version = models.BigIntegerField()
    state = models.JSONField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("generation", "kind", "resource_id"), name="fact_once_per_resource"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.resource_id}"


class ParkedEvent(models.Model):
    """An event that could not be applied. It blocks no other event and can be retried."""

    generation = models.PositiveIntegerField()
    service = models.CharField(max_length=64)
    event_id = models.CharField(max_length=100)
    type = models.CharField(max_length=100)
    subject = models.CharField(max_length=100)
    content = models.TextField(help_text="The event as JSON. If it is too long, it is cut and cannot be retried.")
    error = models.CharField(max_length=500)
    parked_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("generation", "service", "event_id"), name="parked_event_once"),)

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"


class Figure(models.Model):
    """A running total, such as ``orders.revenue``."""

    generation = models.PositiveIntegerField()
    name = models.CharField(max_length=64)
    value = models.DecimalField(max_digits=30, decimal_places=2)

    class Meta:
        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=("generation", "name"), name="figure_once"),)

    def __str__(self) -> str:
        return self.name


class DailyFigure(models.Model):
    """A running total of one day, in the time zone of the generation."""

    generation = models.PositiveIntegerField()
    name = models.CharField(max_length=64)
    date = models.DateField()
    value = models.DecimalField(max_digits=30, decimal_places=2)

    class Meta:
        ordering = ("-date", "name")
        constraints = (models.UniqueConstraint(fields=("generation", "name", "date"), name="daily_figure_once_a_day"),)

    def __str__(self) -> str:
        return f"{self.name} {self.date}"


class ProductFigure(models.Model):
    """A product's stock and sales."""

    generation = models.PositiveIntegerField()
    product_id = models.BigIntegerField()
    name = models.CharField(max_length=200)
    stock = models.BigIntegerField(default=0)
    low_stock_threshold = models.BigIntegerField(
        null=True, blank=True, help_text="The product's own number of pieces at which its stock is low."
    )
    listed = models.BooleanField(default=False, help_text="Whether the product is in the catalog.")
    units = models.BigIntegerField(default=0)
    revenue = models.DecimalField(max_digits=30, decimal_places=2, default=0)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("generation", "product_id"), name="product_figure_once_per_product"),
        )
        indexes = (
            models.Index(
                "generation",
                "stock",
                "product_id",
                condition=models.Q(listed=True, low_stock_threshold=None),
                name="product_figure_by_shop",
            ),
            models.Index(
                "generation",
                "stock",
                "product_id",
                condition=models.Q(listed=True, stock__lte=models.F("low_stock_threshold")),
                name="product_figure_low",
            ),
            models.Index(
                "generation",
                models.F("units").desc(),
                "product_id",
                condition=models.Q(units__gt=0),
                name="product_figure_by_units",
            ),
        )

    def __str__(self) -> str:
        return self.name
