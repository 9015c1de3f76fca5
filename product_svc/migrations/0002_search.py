"""A search ignores case, accents and Unicode form, and knows skus and categories. A category is compared without case.

The table is rewritten under a lock; see docs/operations.md. The column keeps its name, so that processes of the version
before work on; until they are replaced, their searches do not find words of descriptions.
"""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models

from platform_core.db import DROP_SEARCH_FUNCTIONS, SEARCH_FUNCTIONS, Alike
from product_svc import search


class Migration(migrations.Migration):
    dependencies = (("product_svc", "0001_initial"),)

    operations = (
        migrations.RunSQL(SEARCH_FUNCTIONS, DROP_SEARCH_FUNCTIONS),
        migrations.RunSQL(search.FUNCTIONS, search.DROP_FUNCTIONS),
        migrations.RemoveIndex("product", "product_text"),
        migrations.RemoveField("product", "text"),
        migrations.AddField(
            "product",
            "text",
            models.GeneratedField(
                db_persist=True,
                expression=search.ProductVector("name", "sku", "category", "description"),
                output_field=SearchVectorField(),
            ),
        ),
        migrations.AddIndex("product", GinIndex(fields=["text"], name="product_text")),
        migrations.RemoveIndex("product", "product_by_category"),
        migrations.AddIndex(
            "product",
            models.Index(Alike("category"), "id", condition=models.Q(deleted_at=None), name="product_by_category"),
        ),
    )
