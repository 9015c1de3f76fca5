from django.db import migrations, models

NAME = "idempotency_key_once_per_caller"


class Migration(migrations.Migration):
    """The unique index begins with the key, so that a key is found without its caller."""

    dependencies = [
        ("platform_core", "0004_schema_currency"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="idempotencykey", name=NAME),
        migrations.AddConstraint(
            model_name="idempotencykey", constraint=models.UniqueConstraint(fields=("key", "caller"), name=NAME)
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
