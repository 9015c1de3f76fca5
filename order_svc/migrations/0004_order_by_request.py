from django.db import migrations, models


class Migration(migrations.Migration):
    """The unique index of keys begins with the key, so that an order is found by its key without the caller."""

    dependencies = [
        ("order_svc", "0003_transitions"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["request_id"], name="order_by_request"),
        ),
        migrations.RemoveConstraint(model_name="order", name="order_once_per_key"),
        migrations.AddConstraint(
            model_name="order",
            constraint=models.UniqueConstraint(
                condition=models.Q(("idempotency_key__isnull", False)),
                fields=("idempotency_key", "caller"),
                name="order_once_per_key",
            ),
        ),
    ]
