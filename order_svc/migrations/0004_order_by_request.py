from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

CONDITION = models.Q(("idempotency_key__isnull", False))


class Migration(migrations.Migration):
    """The unique index of keys begins with the key. It is built beside the old one, so that orders go on."""

    atomic = False

    dependencies = [
        ("order_svc", "0003_transitions"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="order",
            index=models.Index(fields=["request_id"], name="order_by_request"),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(statement, migrations.RunSQL.noop)
                for statement in (
                    "DROP INDEX CONCURRENTLY IF EXISTS order_once_per_key_new",  # of an attempt that failed
                    "CREATE UNIQUE INDEX CONCURRENTLY order_once_per_key_new ON order_svc_order (idempotency_key, caller)"
                    " WHERE idempotency_key IS NOT NULL",
                    "DROP INDEX CONCURRENTLY IF EXISTS order_once_per_key",
                    "ALTER INDEX order_once_per_key_new RENAME TO order_once_per_key",
                )
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name="order", name="order_once_per_key"),
                migrations.AddConstraint(
                    model_name="order",
                    constraint=models.UniqueConstraint(
                        condition=CONDITION, fields=("idempotency_key", "caller"), name="order_once_per_key"
                    ),
                ),
            ],
        ),
    ]
