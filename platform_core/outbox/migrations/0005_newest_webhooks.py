"""An index for the list of webhook deliveries. After a failure the migration can be run again."""

from django.db import migrations, models

_INDEX = models.Index(condition=models.Q(("kind", "webhook.deliver")), fields=["id"], name="outbox_newest_webhooks")


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("outbox", "0004_outbox_by_request"),)

    operations = (
        migrations.RunSQL("DROP INDEX IF EXISTS outbox_newest_webhooks", migrations.RunSQL.noop),
        migrations.AddIndex("outboxmessage", _INDEX),
    )
