"""The export of selected orders as CSV, as a job."""

import codecs
import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction

from order_svc.models import Order, OrderLine
from platform_core.api import TimestampField, guarded
from platform_core.conf import amount_text
from platform_core.jobs import ChunkWriter, Job, JobChunk, JobItem, Kind, Run, waiting_items

EXPORT = "order.export"
PAGE: Final = 500
"""The number of orders that are written in each transaction."""
COLUMNS: Final = (
    "order",
    "status",
    "createdAt",
    "confirmedAt",
    "updatedAt",
    "userId",
    "customerName",
    "customerEmail",
    "customerAddress",
    "productId",
    "product",
    "quantity",
    "unitPrice",
    "subtotal",
    "total",
    "currency",
    "reason",
)
"""docs/operations.md describes them."""
_ORDER = (
    *("pk", "status", "created_at", "confirmed_at", "updated_at", "user_id"),
    *("customer_name", "customer_email", "customer_address", "total", "currency", "reason"),
)
_LINE = ("order_id", "product_id", "name", "quantity", "unit_price", "subtotal")


def export(run: Run) -> None:
    """Writes the selected orders, oldest first, a line for each product of each.

    A page of orders is written in the transaction that settles its items, so a later run goes on behind it.
    """
    while items := list(waiting_items(run.job)[:PAGE]):
        run.check_turn()
        with transaction.atomic():
            _append(run.job, [item.key for item in items])
            settled = JobItem.objects.filter(pk__in=[item.pk for item in items], state=JobItem.State.WAITING)
            settled.update(state=JobItem.State.UNCHANGED)
            run.commit(len(items))


def _append(job: Job, keys: Sequence[int]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if not JobChunk.objects.filter(job=job, part=JobChunk.Part.RESULT).exists():
        text.write(codecs.BOM_UTF8.decode() if job.parameters.get("bom") else "")
        writer.writerow(COLUMNS)
    writer.writerows(_rows(keys))
    result = ChunkWriter(job, JobChunk.Part.RESULT)
    result.write(text.getvalue().encode())
    result.flush()


def _rows(keys: Sequence[int]) -> Iterator[list[Any]]:
    lines = defaultdict(list)
    for line in OrderLine.objects.filter(order__in=keys).order_by("order", "pk").values(*_LINE):
        lines[line["order_id"]].append(line)
    for order in Order.objects.filter(pk__in=keys).order_by("pk").values(*_ORDER):
        for line in lines[order["pk"]]:
            yield [guarded(value) for value in _row(order, line)]


def _row(order: dict[str, Any], line: dict[str, Any]) -> Iterator[Any]:
    """The values of one line, in the order of `COLUMNS`."""
    yield from (order["pk"], order["status"])
    yield from (_time(order[name]) for name in ("created_at", "confirmed_at", "updated_at"))
    yield from (order["user_id"], order["customer_name"], order["customer_email"], order["customer_address"])
    yield from (line["product_id"], line["name"], line["quantity"])
    amounts = (line["unit_price"], line["subtotal"], order["total"])
    yield from (_amount(amount, order["currency"]) for amount in amounts)
    yield from (order["currency"], order["reason"])


def _time(moment: datetime | None) -> Any:
    return None if moment is None else TimestampField().to_representation(moment)


def _amount(amount: Decimal | None, currency: str) -> str | None:
    return None if amount is None else amount_text(amount, currency)


def question(job: Job) -> str:
    """Says how many orders will be written, and what of the customers is in the file."""
    orders = f"{job.total:,} order{'' if job.total == 1 else 's'}"
    return (
        f"{orders} will be written to a CSV file, with the names, email addresses and addresses of the customers.\n"
        "Whoever may change orders can download the file for a day. Then it is erased."
    )


KIND = Kind(
    name=EXPORT,
    title="Export the orders",
    permission="order_svc.change_order",
    run=export,
    question=question,
    row="order",
    row_page="admin:order_svc_order_change",
    only_reads=True,
)
