"""Appending to the event log, in the transaction of the change."""

from django.db.models import BigIntegerField, Func, Max

from benchmarks.contenders.stock.models import Event, FeedEpoch

TRANSACTION = Func(template="pg_current_xact_id()::text::bigint", output_field=BigIntegerField())


def append(kind, subject, data):
    epoch = FeedEpoch.objects.aggregate(latest=Max("value"))["latest"] or 1
    Event.objects.create(epoch=epoch, txid=TRANSACTION, type=kind, subject=str(subject), data=data)
