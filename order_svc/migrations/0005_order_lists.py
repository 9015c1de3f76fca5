"""Indexes for the searches and filters of the order list.

Each is a transaction of its own, so that new orders wait for one index at a time. After a failure the migration can be
run again: an index that is there is built anew.
"""

import django.db.models.functions.text
from django.db import migrations, models


def _built(model_name, index):
    drop = migrations.RunSQL(f"DROP INDEX IF EXISTS {index.name}", migrations.RunSQL.noop)
    return drop, migrations.AddIndex(model_name, index)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("order_svc", "0004_order_by_request"),)

    operations = (
        *_built("order", models.Index(fields=["status", "created_at"], name="order_by_status_and_time")),
        *_built(
            "order",
            models.Index(
                django.db.models.functions.text.Lower("customer_email"), models.F("id"), name="order_by_email"
            ),
        ),
        *_built("orderline", models.Index(fields=["product_id", "order"], name="order_line_by_product")),
    )
