"""The event log of a service. Events are written in the transaction of the change and served as a feed."""

from django.db import models


class Event(models.Model):
    """One event. Feeds order by (epoch, txid, id).

    Ids come from a sequence, and transactions commit out of order, so a reader that stored the highest id would miss
    rows. All transactions below ``pg_snapshot_xmin`` have ended, so what a reader sees there is final.
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
            models.Index(fields=("request_id",), name="event_by_request"),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"


class FeedStart(models.Model):
    """A single row: the last event that retention has deleted. A reader with an earlier position has missed events."""

    epoch = models.PositiveIntegerField()
    txid = models.BigIntegerField()
    sequence = models.BigIntegerField()
    time = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.epoch}-{self.txid}-{self.sequence}"


class FeedConsumer(models.Model):
    """A named consumer of the feed. Retention deletes no event after the position that it has acknowledged."""

    name = models.CharField(max_length=64, primary_key=True)
    epoch = models.PositiveIntegerField()
    txid = models.BigIntegerField()
    sequence = models.BigIntegerField()
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class ServerHistory(models.Model):
    """A single row: the database to which this feed belongs, and whether it has lost transactions.

    See `platform_core.events.history`.
    """

    system_identifier = models.CharField(max_length=32)
    timeline = models.BigIntegerField(help_text="0 if it is not known.")
    table_oid = models.BigIntegerField()
    noted_at = models.DateTimeField()
    lost = models.TextField(blank=True, default="", db_default="", help_text="What was lost, and what to do.")
    lost_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.system_identifier}, timeline {self.timeline}"


class FeedEpoch(models.Model):
    """The current epoch is the highest ``value``. A new server counts transaction ids from 1, in a new epoch."""

    value = models.PositiveIntegerField(unique=True)

    def __str__(self) -> str:
        return str(self.value)
