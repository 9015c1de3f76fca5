"""Indexes for the searches and filters of the lists in the admin.

Each is a transaction of its own. After a failure the migration can be run again: an index that is there is built anew.
"""

from django.db import migrations, models


def _built(model_name, index):
    drop = migrations.RunSQL(f"DROP INDEX IF EXISTS {index.name}", migrations.RunSQL.noop)
    return drop, migrations.AddIndex(model_name, index)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("user_svc", "0006_folded_words"),)

    operations = (
        *_built("user", models.Index(condition=models.Q(("is_active", False)), fields=["id"], name="user_inactive")),
        *_built("user", models.Index(condition=models.Q(("roles", []), _negated=True), fields=["id"], name="user_staff")),
        *_built("user", models.Index(fields=["created_at"], name="user_by_time")),
    )
