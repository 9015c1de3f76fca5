"""Indexes for the searches and filters of the lists in the admin.

Each is a transaction of its own. After a failure the migration can be run again: an index that is there is built anew.
"""

from django.db import migrations, models
from django.db.models.functions import Lower


def _built(model_name, index):
    drop = migrations.RunSQL(f"DROP INDEX IF EXISTS {index.name}", migrations.RunSQL.noop)
    return drop, migrations.AddIndex(model_name, index)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("notification_svc", "0006_development_mail"),)

    operations = (
        *_built("notification", models.Index(fields=["created_at"], name="notification_by_time")),
        *_built("notification", models.Index(Lower("recipient"), models.F("id"), name="notification_by_recipient")),
    )
