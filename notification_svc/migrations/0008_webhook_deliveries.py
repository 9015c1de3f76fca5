from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (
        ("notification_svc", "0007_notification_lists"),
        ("outbox", "0005_newest_webhooks"),
    )

    operations = (
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[],
            options={
                "verbose_name_plural": "webhook deliveries",
                "ordering": ("-id",),
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("outbox.outboxmessage",),
        ),
    )
