"""Compares docs/privacy.md with the models of a service. A suite includes it with ``from tests.privacy import *``."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, models

from platform_core.api import encode
from platform_core.conf.environment import ROOT

__all__ = ["test_every_column_that_can_hold_text_is_listed_once"]

PAGE = ROOT / "docs" / "privacy.md"
WITHOUT_TEXT = (
    *(models.IntegerField, models.DecimalField, models.FloatField, models.BooleanField, models.UUIDField),
    *(models.DateField, models.TimeField, models.DurationField, models.ForeignKey),
)
"""Fields that hold no text. Every other kind is listed, so that a new kind is noticed."""


def listed(heading: str) -> list[tuple[str, str, str]]:
    """The columns below a heading of the page: ``(service, table, column)``."""
    part = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| ([\w, ]+) \|", part, re.MULTILINE)
    _heads, *rows = rows
    return [(service, table, column) for service, table, columns in rows for column in columns.split(", ")]


def here(columns: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    tables = {model._meta.db_table for model in _models()}
    own = (settings.SERVICE.package, "all")
    return [(table, column) for service, table, column in columns if service in own and table in tables]


def _models() -> list[type[models.Model]]:
    """The models with a table. Tests may have imported others."""
    tables = connection.introspection.table_names()
    return [model for model in apps.get_models(include_auto_created=True) if model._meta.db_table in tables]


@pytest.mark.django_db
def test_every_column_that_can_hold_text_is_listed_once() -> None:
    said = [*here(listed("Personal data")), *here(listed("No personal data"))]
    there = {
        (model._meta.db_table, field.column)
        for model in _models()
        for field in model._meta.concrete_fields
        if not isinstance(field.output_field if field.generated else field, WITHOUT_TEXT)
    }
    unlisted, unknown = there - set(said), set(said) - there
    assert not unlisted, f"docs/privacy.md does not say whether they are personal: {unlisted}"
    assert not unknown, f"docs/privacy.md lists columns that are not there: {unknown}"
    assert len(said) == len(set(said)), "a column is listed twice"


def assert_is_in_no_event(model: type[models.Model], snapshot: Callable[[Any], Any]) -> None:
    """Checks that the data of a row's events has none of its personal columns."""
    columns = [column for table, column in here(listed("Personal data")) if table == model._meta.db_table]
    texts = {column: f"personal {column}" for column in columns}
    assert texts
    instance = model(**{name: text for name, text in texts.items() if not model._meta.get_field(name).generated})
    data = encode(snapshot(instance)).decode()
    assert not [text for text in texts.values() if text in data]
