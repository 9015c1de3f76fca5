from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("notification_svc", "0001_initial"),)

    operations = (
        migrations.AddField("notification", "sealed", models.TextField(null=True, blank=True, editable=False)),
    )
