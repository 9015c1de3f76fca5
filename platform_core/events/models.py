"""The event log of a service: appended to in the transaction of the change, served as a feed."""

from django.db import models


class Event(models.Model):
    """One thing that happened. Feeds order by (epoch, txid, id).

    Ids come from a sequence and commit out of order, so a reader that remembered the highest id would miss rows.
    Transaction ids below ``pg_snapshot_xmin`` are all decided: what a reader sees there is final.
    """

    epoch = models.PositiveIntegerField()
    txid = models.BigIntegerField()
    type = models.CharField(max_length=64)
    subject = models.CharField(max_length=64)
    data = models.JSONField()
    time = models.DateTimeField()
    request_id = models.CharField(max_length=128)
    traceparent = models.CharField(max_length=64)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("epoch", "txid", "id"), name="event_feed_order"),
            models.Index(fields=("subject", "id"), name="event_by_subject"),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"


class FeedStart(models.Model):
    """One row: the last event that retention has deleted. A reader whose position lies before it has missed some."""

    epoch = models.PositiveIntegerField()
    txid = models.BigIntegerField()
    sequence = models.BigIntegerField()
    time = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.epoch}-{self.txid}-{self.sequence}"


class FeedConsumer(models.Model):
    """Somebody who reads the feed by name, and the position it has acknowledged: retention never goes beyond it."""

    name = models.CharField(max_length=64, primary_key=True)
    epoch = models.PositiveIntegerField()
    txid = models.BigIntegerField()
    sequence = models.BigIntegerField()
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class FeedEpoch(models.Model):
    """Transaction ids start anew after a move to another server; the highest ``value`` here tells the eras apart."""

    value = models.PositiveIntegerField(unique=True)

    def __str__(self) -> str:
        return str(self.value)
