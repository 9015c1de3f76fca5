"""Indexes for the filters of the stock room.

Each is a transaction of its own, so that reservations wait for one index at a time. `CREATE INDEX CONCURRENTLY` would
wait for every transaction of the database, also for a second migration, which waits for this one. After a failure the
migration can be run again: an index that is there is built anew.
"""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models


def _built(model_name, index):
    drop = migrations.RunSQL(f"DROP INDEX IF EXISTS {index.name}", migrations.RunSQL.noop)
    return drop, migrations.AddIndex(model_name, index)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("product_svc", "0003_stock_room"),)

    operations = (
        ValidateConstraint("product", "product_threshold_not_negative"),
        *_built(
            "product",
            models.Index(
                models.F("low_stock_threshold"),
                models.F("id"),
                condition=models.Q(("deleted_at", None), ("low_stock_threshold__isnull", False)),
                name="product_by_threshold",
            ),
        ),
        *_built("stockmovement", models.Index(fields=["kind", "id"], name="movement_by_kind")),
        *_built(
            "stockmovement",
            models.Index(
                condition=models.Q(("order_id__isnull", False)), fields=["order_id"], name="movement_by_order"
            ),
        ),
        *_built("stockmovement", models.Index(fields=["created_at"], name="movement_by_time")),
    )
