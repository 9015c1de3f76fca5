from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("notification_svc", "0002_notification_data"),)

    operations = (
        migrations.AddField("notification", "sealed", models.TextField(null=True, blank=True, editable=False)),
    )
