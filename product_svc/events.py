"""A product as its events show it. One list of fields, from the model, serves both Python and SQL."""

from typing import Any

from django.db.models import DateTimeField, Field

from product_svc.models import Product

LEFT_OUT = frozenset({"description", "sku"})
"""Nobody who reads the feed needs them."""


def _wire_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


FIELDS: dict[str, "Field[Any, Any]"] = {
    _wire_name(field.attname): field
    for field in Product._meta.concrete_fields
    if field.name in ("version", "created_at") or (field.editable and not field.primary_key)
    if field.name not in LEFT_OUT
}
"""By their names on the wire. A field that must not leave the service is ``editable=False``, or in `LEFT_OUT`."""


def snapshot(product: Product) -> dict[str, Any]:
    """The version tells which of two events is the later one."""
    return {name: getattr(product, field.attname) for name, field in FIELDS.items()}


COLUMNS = tuple(str(field.column) for field in FIELDS.values())


def _sql_value(field: "Field[Any, Any]") -> str:
    if isinstance(field, DateTimeField):
        return f"""to_char("{field.column}" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    return f'"{field.column}"'


SQL_MEMBERS = ", ".join(f"'{name}', {_sql_value(field)}" for name, field in FIELDS.items())
"""The same for ``jsonb_build_object``, where the product's `COLUMNS` are in reach."""
