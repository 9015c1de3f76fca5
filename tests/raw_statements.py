"""For every suite: raw INSERT statements match the models.

A model's new field is unknown to a raw INSERT. If the column takes neither a default from the database nor NULL, the
statement fails; if the model has a default that the database does not know, the row silently differs from what the ORM
would write. Both are found here, in every statement that is a constant of a module.
"""

import importlib
import pkgutil
import re

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import NOT_PROVIDED, Field

INSERT = re.compile(r"INSERT\s+INTO\s+(\w+)(?:\s+AS\s+\w+)?\s*\(([^)]*)\)")
TABLES = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}


def _modules() -> list[str]:
    """The modules of the service, and those of the library that any service can import."""
    found = []
    for package in (
        settings.SERVICE.package,
        "platform_core.events",
        "platform_core.outbox",
        "platform_core.jobs",
        "platform_core.auth",
    ):
        paths = importlib.import_module(package).__path__
        found += [each.name for each in pkgutil.walk_packages(paths, f"{package}.") if ".migrations" not in each.name]
    return [*found, "platform_core.api.idempotency", "platform_core.tools.verify"]


def inserts() -> list[tuple[str, str, frozenset[str]]]:
    """The place, table and columns of each INSERT. Tables of other services are checked by their own suites."""
    found = []
    for name in _modules():
        for constant, text in vars(importlib.import_module(name)).items():
            if isinstance(text, str) and not constant.startswith("__"):
                for table, columns in INSERT.findall(text):
                    if table not in TABLES and not table.startswith(settings.SERVICE.package):
                        continue
                    names = frozenset(column.strip().strip('"') for column in columns.split(","))
                    found.append((f"{name}.{constant}", table, names))
    return found


def must_be_written(field: "Field") -> bool:
    """Whether an INSERT without this column fails or gives a different row than the ORM."""
    if field.generated or field.db_default is not NOT_PROVIDED or field.get_internal_type() == "BigAutoField":
        return False
    return not field.null or field.get_default() is not None


@pytest.mark.parametrize(
    "place, table, columns", [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in inserts()]
)
def test_a_raw_insert_writes_every_column_that_the_model_wants(place, table, columns):
    fields = {field.column: field for field in TABLES[table]._meta.concrete_fields}
    assert not columns - fields.keys(), "columns that the model does not have"
    assert not {name for name, field in fields.items() if must_be_written(field)} - columns
