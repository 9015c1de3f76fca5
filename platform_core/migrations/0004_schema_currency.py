"""Each schema remembers its currency. One that has amounts already began with USD: there was no other."""

from typing import Any

from django.conf import settings
from django.db import migrations, models

OLD_AMOUNTS = ("product_svc_product", "order_svc_order", "analytics_svc_figure")


def remember(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        there = set(schema_editor.connection.introspection.table_names(cursor)).intersection(OLD_AMOUNTS)
        has_amounts = False
        for table in there:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")  # noqa: S608  # constants
            has_amounts = has_amounts or cursor.fetchone()[0]
    apps.get_model("platform_core", "SchemaCurrency").objects.create(code="USD" if has_amounts else settings.CURRENCY)


class Migration(migrations.Migration):
    dependencies = (("platform_core", "0003_erased_person"),)

    operations = (
        migrations.CreateModel(
            "SchemaCurrency",
            [
                ("id", models.BooleanField(default=True, primary_key=True, serialize=False)),
                ("code", models.CharField(max_length=3)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(id=True), name="schema_currency_is_one")]
            },
        ),
        migrations.RunPython(remember, migrations.RunPython.noop),
    )
