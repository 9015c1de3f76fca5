"""Nobody looks for the beginning of a key, so the index that Django adds for LIKE goes. The unique one stays."""

from django.db import migrations

NAME = "outbox_outboxmessage_key_58be1415_like"


class Migration(migrations.Migration):
    dependencies = (("outbox", "0004_outbox_by_request"),)

    operations = (
        migrations.RunSQL(
            f"DROP INDEX IF EXISTS {NAME}",
            f"CREATE INDEX {NAME} ON outbox_outboxmessage (key varchar_pattern_ops)",
        ),
    )
