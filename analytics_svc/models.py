"""Read models, kept up to date from the services' event feeds. Everything here can be made anew from those."""

from django.db import models


class FeedPosition(models.Model):
    """How far a service's feed has been taken in; changed in the transaction of what its events change."""

    service = models.CharField(max_length=64, primary_key=True)
    last_event_id = models.CharField(max_length=64, blank=True, default="")
    caught_up_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.service


class Fact(models.Model):
    """The latest known state of one resource: what its contribution to the figures is computed from."""

    kind = models.CharField(max_length=16)
    resource_id = models.BigIntegerField()
    version = models.BigIntegerField()
    state = models.JSONField()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("kind", "resource_id"), name="fact_once_per_resource"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.resource_id}"


class Figure(models.Model):
    """A running total, such as ``orders.revenue``."""

    name = models.CharField(max_length=64, primary_key=True)
    value = models.DecimalField(max_digits=30, decimal_places=2)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class DailyFigure(models.Model):
    """A running total of one day (UTC)."""

    name = models.CharField(max_length=64)
    date = models.DateField()
    value = models.DecimalField(max_digits=30, decimal_places=2)

    class Meta:
        ordering = ("-date", "name")
        constraints = (models.UniqueConstraint(fields=("name", "date"), name="daily_figure_once_a_day"),)

    def __str__(self) -> str:
        return f"{self.name} {self.date}"


class ProductFigure(models.Model):
    """A product's stock, and what was sold of it."""

    product_id = models.BigIntegerField(primary_key=True)
    name = models.CharField(max_length=200)
    stock = models.BigIntegerField(default=0)
    listed = models.BooleanField(default=False, help_text="It is in the catalog.")
    units = models.BigIntegerField(default=0)
    revenue = models.DecimalField(max_digits=30, decimal_places=2, default=0)

    class Meta:
        ordering = ("product_id",)
        indexes = (
            models.Index("stock", "product_id", condition=models.Q(listed=True), name="product_figure_by_stock"),
            models.Index(
                models.F("units").desc(), "product_id", condition=models.Q(units__gt=0), name="product_figure_by_units"
            ),
        )

    def __str__(self) -> str:
        return self.name
