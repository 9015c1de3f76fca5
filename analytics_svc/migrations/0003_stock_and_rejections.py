"""Thresholds for low stock, and figures of the days of orders that were cancelled or rejected.

The figures are filled from the facts. Both statuses are final, so what processes of the version before add is never
taken back; what they miss until they are replaced is counted by a rebuild.
"""

from django.db import migrations, models

FILL = """
    INSERT INTO analytics_svc_dailyfigure (generation, name, date, value)
    SELECT fact.generation, 'orders.' || (state ->> 'status'),
        ((state ->> 'createdAt')::timestamptz AT TIME ZONE position.time_zone)::date, count(*)
    FROM analytics_svc_fact AS fact
    JOIN (SELECT DISTINCT generation, time_zone FROM analytics_svc_feedposition) AS position USING (generation)
    WHERE kind = 'order' AND state ->> 'status' IN ('cancelled', 'rejected')
    GROUP BY 1, 2, 3
    ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):

    dependencies = [
        ('analytics_svc', '0002_time_zone'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='productfigure',
            name='product_figure_by_stock',
        ),
        migrations.AddField(
            model_name='productfigure',
            name='low_stock_threshold',
            field=models.BigIntegerField(blank=True, help_text="The product's own number of pieces at which its stock is low.", null=True),
        ),
        migrations.AddIndex(
            model_name='productfigure',
            index=models.Index(models.F('generation'), models.F('stock'), models.F('product_id'), condition=models.Q(('listed', True), ('low_stock_threshold', None)), name='product_figure_by_shop'),
        ),
        migrations.AddIndex(
            model_name='productfigure',
            index=models.Index(models.F('generation'), models.F('stock'), models.F('product_id'), condition=models.Q(('listed', True), ('stock__lte', models.F('low_stock_threshold'))), name='product_figure_low'),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
