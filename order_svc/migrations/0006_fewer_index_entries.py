"""An order writes fewer index entries: pending orders are not in the indexes by status, nor orders without an email in
that of emails, and the index of a line's order is the beginning of a unique one.

Each index is built in a transaction of its own, so that new orders wait for one at a time. After a failure the
migration can be run again.
"""

import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models

SETTLED = models.Q(("status__in", ["confirmed", "rejected", "cancelled", "shipped", "delivered"]))


def _built(model_name, index):
    drop = migrations.RunSQL(f"DROP INDEX IF EXISTS {index.name}", migrations.RunSQL.noop)
    return drop, migrations.AddIndex(model_name, index)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("order_svc", "0005_order_lists"),)

    operations = (
        *_built("order", models.Index(fields=["status", "id"], name="order_settled_by_status", condition=SETTLED)),
        migrations.RemoveIndex("order", "order_by_status"),
        *_built(
            "order",
            models.Index(fields=["status", "created_at"], name="order_settled_by_status_time", condition=SETTLED),
        ),
        migrations.RemoveIndex("order", "order_by_status_and_time"),
        *_built(
            "order",
            models.Index(
                django.db.models.functions.text.Lower("customer_email"),
                models.F("id"),
                name="order_by_known_email",
                condition=models.Q(("customer_email__isnull", False)),
            ),
        ),
        migrations.RemoveIndex("order", "order_by_email"),
        # AlterField would also check the foreign key of every line again.
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunSQL(
                    "DROP INDEX IF EXISTS order_svc_orderline_order_id_9bf5b64a",
                    "CREATE INDEX order_svc_orderline_order_id_9bf5b64a ON order_svc_orderline (order_id)",
                )
            ],
            [
                migrations.AlterField(
                    "orderline",
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="order_svc.order",
                    ),
                )
            ],
        ),
    )
