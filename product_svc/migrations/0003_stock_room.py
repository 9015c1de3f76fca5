"""Movements know their actor and have a note; products may have a threshold for low stock.

The columns take their values from the database, so that processes of the version before keep writing.
"""

import django.core.validators
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("product_svc", "0002_search"),)

    operations = (
        migrations.AddField(
            model_name="product",
            name="low_stock_threshold",
            field=models.BigIntegerField(
                blank=True,
                default=None,
                help_text="The stock is low at this many pieces or fewer. Empty: as for the whole shop.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(0),
                    django.core.validators.MaxValueValidator(2147483647),
                ],
            ),
        ),
        migrations.AddField(
            model_name="stockmovement",
            name="actor",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="stockmovement",
            name="note",
            field=models.CharField(blank=True, db_default="", default="", max_length=500),
        ),
        AddConstraintNotValid(
            model_name="product",
            constraint=models.CheckConstraint(
                condition=models.Q(("low_stock_threshold__gte", 0)), name="product_threshold_not_negative"
            ),
        ),
    )
