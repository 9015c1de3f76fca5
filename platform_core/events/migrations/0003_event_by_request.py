from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("events", "0002_server_history"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["request_id"], name="event_by_request"),
        ),
        migrations.AlterModelOptions(name="serverhistory", options={"verbose_name_plural": "server history"}),
    ]
