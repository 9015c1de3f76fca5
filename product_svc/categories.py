"""The categories of the catalog, found by jumps through their index."""

from django.db import connection

from platform_core.db import Alike

MOST = 30
_KEY = Alike.template % {"expressions": "category"}
_JUMPS = f"""
    WITH RECURSIVE found AS (
        (SELECT {_KEY} AS key, category FROM product_svc_product WHERE deleted_at IS NULL AND {_KEY} > ''
         ORDER BY {_KEY}, id LIMIT 1)
        UNION ALL
        SELECT following.* FROM found, LATERAL (
            SELECT {_KEY} AS key, category FROM product_svc_product WHERE deleted_at IS NULL AND {_KEY} > found.key
            ORDER BY {_KEY}, id LIMIT 1
        ) AS following
    )
    SELECT category FROM found LIMIT %s
"""


def first_categories() -> list[str]:
    """Up to `MOST` categories in alphabetical order, one spelling of each. Costs one probe of the index for each."""
    with connection.cursor() as cursor:
        cursor.execute(_JUMPS, [MOST])
        return [category for (category,) in cursor.fetchall()]
