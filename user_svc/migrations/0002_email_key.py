"""Addresses are unique by a key that is folded in one place, not by what Postgres takes for lower case."""

from collections import defaultdict
from typing import Any

from django.db import migrations, models

from user_svc.emails import BadAddress, email_key

BATCH = 5_000
NAMED = 20


def fill(apps: Any, schema_editor: Any) -> None:
    """Raises ValueError that names the accounts whose addresses are the same now, or are none."""
    users = apps.get_model("user_svc", "User").objects
    by_key: defaultdict[str, list[int]] = defaultdict(list)
    refused: list[str] = []
    batch = []
    for user in users.only("pk", "email").order_by("pk").iterator(BATCH):
        try:
            user.email_key = email_key(user.email)
        except BadAddress as error:
            refused.append(f"user {user.pk}: {user.email!r}: {error}")
            continue
        by_key[user.email_key].append(user.pk)
        batch.append(user)
        if len(batch) == BATCH:
            users.bulk_update(batch, ["email_key"])
            batch.clear()
    users.bulk_update(batch, ["email_key"])
    same = [f"users {', '.join(map(str, pks))} have the same address" for pks in by_key.values() if len(pks) > 1]
    if found := same + refused:
        more = f" (and {len(found) - NAMED} more)" if len(found) > NAMED else ""
        raise ValueError(f"Change these addresses, then migrate again: {'; '.join(found[:NAMED])}{more}")


class Migration(migrations.Migration):
    dependencies = (("user_svc", "0001_initial"),)

    operations = (
        migrations.AddField("user", "email_key", models.CharField(default="", editable=False, max_length=320)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField("user", "email_key", models.CharField(editable=False, max_length=320)),
        migrations.RemoveConstraint("user", "user_email_taken"),
        migrations.AddConstraint(
            "user",
            models.UniqueConstraint(
                fields=("email_key",),
                name="user_email_taken",
                violation_error_code="email_taken",
                violation_error_message="Another user has this email address.",
            ),
        ),
        migrations.AddConstraint(
            "user",
            models.CheckConstraint(condition=models.Q(email_key__contains="@"), name="user_email_key_set"),
        ),
    )
