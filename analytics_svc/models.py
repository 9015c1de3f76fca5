"""Read models, kept up to date from the services' event feeds. `analytics_svc rebuild` makes all of it anew."""

from django.db import models


class FeedPosition(models.Model):
    """How far a service's feed has been taken in; changed in the transaction of what its events change.

    A generation is one set of read models. A rebuild fills a new one and then makes it the live one.
    """

    service = models.CharField(max_length=64)
    generation = models.PositiveIntegerField(default=1)
    live = models.BooleanField(default=True, help_text="Reports are made from this generation.")
    last_event_id = models.CharField(max_length=64, blank=True, default="")
    caught_up_at = models.DateTimeField(null=True, blank=True)
    rebuilding_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then a rebuild is under way, unless it says so anew."
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
    """The latest known state of one resource: what its contribution to the figures is computed from."""

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
    """An event that could not be taken in. It keeps no other from being taken in, and can be tried again."""

    generation = models.PositiveIntegerField()
    service = models.CharField(max_length=64)
    event_id = models.CharField(max_length=100)
    type = models.CharField(max_length=100)
    subject = models.CharField(max_length=100)
    content = models.TextField(
        help_text="The event as JSON; cut when it is too long, and then it cannot be tried again."
    )
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
    """A running total of one day (UTC)."""

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
    """A product's stock, and what was sold of it."""

    generation = models.PositiveIntegerField()
    product_id = models.BigIntegerField()
    name = models.CharField(max_length=200)
    stock = models.BigIntegerField(default=0)
    listed = models.BooleanField(default=False, help_text="It is in the catalog.")
    units = models.BigIntegerField(default=0)
    revenue = models.DecimalField(max_digits=30, decimal_places=2, default=0)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("generation", "product_id"), name="product_figure_once_per_product"),
        )
        indexes = (
            models.Index(
                "generation", "stock", "product_id", condition=models.Q(listed=True), name="product_figure_by_stock"
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
