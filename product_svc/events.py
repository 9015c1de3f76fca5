"""The product in its events. One list of fields, derived from the model, is used in Python and in SQL."""

from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, DecimalField, Field

from platform_core.conf import decimals, rounded
from product_svc.models import Product

LEFT_OUT = frozenset({"description", "sku"})
"""Fields that consumers of the feed do not need."""


def _wire_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


FIELDS: dict[str, "Field[Any, Any]"] = {
    _wire_name(field.attname): field
    for field in Product._meta.concrete_fields
    if field.name in ("version", "created_at") or (field.editable and not field.primary_key)
    if field.name not in LEFT_OUT
}
"""The fields by their names in events. Fields with ``editable=False`` and those in `LEFT_OUT` are omitted."""


def snapshot(product: Product) -> dict[str, Any]:
    """The product as its events carry it. Of two events, the one with the higher version is newer."""
    members = {name: getattr(product, field.attname) for name, field in FIELDS.items()}
    return {**members, "price": rounded(product.price), "currency": product.currency}


COLUMNS = tuple(str(field.column) for field in FIELDS.values())


def _sql_value(field: "Field[Any, Any]") -> str:
    if isinstance(field, DateTimeField):
        return f"""to_char("{field.column}" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    if isinstance(field, DecimalField) and not decimals():
        return f'round("{field.column}")'
    return f'"{field.column}"'


_MEMBERS = {name: _sql_value(field) for name, field in FIELDS.items()} | {"currency": f"'{settings.CURRENCY}'::text"}
SQL_MEMBERS = ", ".join(f"'{name}', {value}" for name, value in _MEMBERS.items())
"""The same as SQL arguments of ``jsonb_build_object``, for statements that select the product's `COLUMNS`."""
