from django.db import migrations, models

NAME = "idempotency_key_once_per_caller"
TABLE = "platform_core_idempotencykey"


class Migration(migrations.Migration):
    """The unique index begins with the key. It is built beside the old one, so that requests go on."""

    atomic = False

    dependencies = [
        ("platform_core", "0004_schema_currency"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(statement, migrations.RunSQL.noop)
                for statement in (
                    f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}_new",  # of an attempt that failed
                    f"CREATE UNIQUE INDEX CONCURRENTLY {NAME}_new ON {TABLE} (key, caller)",
                    f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {NAME},"
                    f" ADD CONSTRAINT {NAME} UNIQUE USING INDEX {NAME}_new",
                )
            ],
            state_operations=[
                migrations.RemoveConstraint(model_name="idempotencykey", name=NAME),
                migrations.AddConstraint(
                    model_name="idempotencykey", constraint=models.UniqueConstraint(fields=("key", "caller"), name=NAME)
                ),
            ],
        ),
        migrations.AddField(
            model_name="idempotencykey",
            name="path",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Empty if an earlier version has stored it.",
                max_length=200,
            ),
        ),
    ]
