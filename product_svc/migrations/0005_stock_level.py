"""A change of the stock writes no index: lists use the level of the stock, which changes rarely.

The table is rewritten under a lock, see docs/operations.md. That also leaves room in its pages, so that the next version
of a row finds a place beside it. Processes of the version before work on; until they are replaced, they sort all products
to order them by stock.
"""

from django.db import migrations, models

from product_svc.stock_levels import StockLevel


class Migration(migrations.Migration):
    dependencies = (("product_svc", "0004_stock_room_indexes"),)

    operations = (
        migrations.RemoveIndex("product", "product_by_stock"),
        migrations.RemoveIndex("product", "product_in_stock"),
        migrations.RunSQL(
            "ALTER TABLE product_svc_product SET (fillfactor = 85)",
            "ALTER TABLE product_svc_product RESET (fillfactor)",
        ),
        migrations.AddField(
            "product",
            "stock_level",
            models.GeneratedField(
                db_persist=True, expression=StockLevel("stock"), output_field=models.SmallIntegerField()
            ),
        ),
        migrations.AddIndex(
            "product",
            models.Index(
                models.F("stock_level"),
                models.F("id"),
                condition=models.Q(("deleted_at", None)),
                name="product_by_stock_level",
            ),
        ),
        migrations.AddIndex(
            "product",
            models.Index(
                models.F("id"),
                condition=models.Q(("deleted_at", None), ("stock_level__gt", 0)),
                name="product_available",
            ),
        ),
    )
