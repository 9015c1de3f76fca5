"""What the lists of the admins read of large tables."""

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from platform_core.admin import BoundedPaginator
from tests.admin_pages import url
from tests.wire import rows_read

A_FEW = 2500
"""Rows that a page may read, of many thousands."""


def assert_page_is_cheap(client: Any, model: Any, query: str) -> None:
    """Opens a list and compares the rows that its statements read with what is allowed.

    The count may read as many rows as the paginator counts.
    """
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(url(model, "changelist") + query)
    assert answer.status_code == 200
    table = f'"{model._meta.db_table}"'
    ours = [each["sql"] for each in captured if each["sql"].startswith("SELECT") and table in each["sql"]]
    pages = [sql for sql in ours if "COUNT(" not in sql]
    assert pages or not answer.context["cl"].result_list  # no statement is needed to find nothing
    for sql in ours:
        limit = A_FEW if sql in pages else BoundedPaginator.most + A_FEW
        found = rows_read(sql)
        assert found <= limit, f"{query}: {found} rows: {sql}"
