"""Indexes for the searches and filters of the lists in the admin.

Each is a transaction of its own. After a failure the migration can be run again: an index that is there is built anew.
"""

from django.db import migrations, models


def _built(model_name, index):
    drop = migrations.RunSQL(f"DROP INDEX IF EXISTS {index.name}", migrations.RunSQL.noop)
    return drop, migrations.AddIndex(model_name, index)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("outbox", "0003_webhooks"),)

    operations = (
        *_built("outboxmessage", models.Index(fields=["request_id"], name="outbox_by_request")),
    )
