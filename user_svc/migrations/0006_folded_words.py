"""A search over users ignores accents and Unicode form. The table is rewritten under a lock; see docs/operations.md."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models

from platform_core.db import DROP_SEARCH_FUNCTIONS, SEARCH_FUNCTIONS, NameWords


class Migration(migrations.Migration):
    dependencies = (("user_svc", "0005_known_addresses"),)

    operations = (
        migrations.RunSQL(SEARCH_FUNCTIONS, DROP_SEARCH_FUNCTIONS),
        migrations.RemoveIndex("user", "user_words"),
        migrations.RemoveField("user", "words"),
        migrations.AddField(
            "user",
            "words",
            models.GeneratedField(
                db_persist=True, expression=NameWords("name", "email"), output_field=SearchVectorField()
            ),
        ),
        migrations.AddIndex("user", GinIndex(fields=["words"], name="user_words")),
    )
