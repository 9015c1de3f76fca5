"""How drf-spectacular describes our fields and serializers in OpenAPI: extensions, which register themselves."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from rest_framework.serializers import ListSerializer, Serializer

from platform_core.api.fields import IdField, MoneyField, OptionalStringField, StringField
from platform_core.api.queries import Query

Schema = dict[str, Any]

ID: Schema = {"type": "string", "pattern": "^[0-9]{1,19}$", "examples": ["1"]}


class IdType(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Ids: strings of digits. Requests may contain numbers, too; the documents omit that."""

    target_class = IdField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        return ID


class MoneyType(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Amounts: numbers. The documents are the same for all currencies, so they allow two decimals. Requests may contain
    strings, too; the documents omit that.
    """

    target_class = MoneyField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        schema: Schema = {"type": "number"}
        if direction == "request":
            schema |= {"minimum": 0, "maximum": 9999999999.99}
        return {
            **schema,
            "description": "At most the decimals of the currency: two or none.",
            "examples": [999.99],
        }


class StringType(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Strings, with the pattern of `StringField`."""

    target_class = StringField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        is_request = direction == "request"
        kind = ["string", "null"] if is_request and isinstance(self.target, OptionalStringField) else "string"
        length = {} if self.target.max_length is None else {"maxLength": self.target.max_length}
        return {"type": kind, **length, **({"pattern": _pattern(self.target)} if is_request else {})}


class SerializerSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Adds to drf-spectacular's schema of each serializer.

    In answers all members are required. Bodies have no defaults; descriptions name them. In requests a strict
    serializer allows no other members (`row_readers.Serializer`). The attribute ``openapi`` of a serializer or field
    adds to its schema. A serializer's own extension takes precedence over this one.
    """

    target_class = Serializer
    match_subclasses = True
    priority = -2

    def map_serializer(self, auto_schema: Any, direction: Any) -> Schema:
        self.target_class = self.target  # the serializer that the method below describes
        schema = super().map_serializer(auto_schema, direction)
        properties = schema.get("properties", {})
        for name in properties:
            properties[name] = _completed(properties[name], self.target.fields[name], direction)
        if direction == "response" and properties:
            schema["required"] = list(properties)
        if direction == "request" and properties and getattr(self.target, "is_strict", False):
            schema["additionalProperties"] = False
        return {**schema, **getattr(self.target, "openapi", {})}


def _completed(schema: Schema, field: Any, direction: Any) -> Schema:
    if isinstance(field, ListSerializer):
        bounds = {"minItems": getattr(field, "min_length", None), "maxItems": getattr(field, "max_length", None)}
        schema |= {name: bound for name, bound in bounds.items() if bound is not None}
    if isinstance(field, StringField) and "oneOf" in schema:
        # drf-spectacular allows the empty text separately; our pattern allows it already.
        schema = _without_empty_text(schema, _pattern(field))
    if not isinstance(field.root, Query):
        schema = _without_default(schema, is_request=direction == "request")
    return {**schema, **getattr(field, "openapi", {})}


def _without_default(schema: Schema, *, is_request: bool) -> Schema:
    """The schema with its default in words. Generated clients would require the member, or always send it."""
    rest = {name: value for name, value in schema.items() if name != "default"}
    default = schema.get("default")
    if is_request and default not in (None, ""):
        rest["description"] = " ".join(filter(None, [schema.get("description"), f"Default: `{default}`."]))
    return rest


def _without_empty_text(schema: Schema, pattern: str) -> Schema:
    text, *_ = schema["oneOf"]
    if text.get("pattern") != pattern:
        return schema
    return {**text, **{name: value for name, value in schema.items() if name != "oneOf"}}


def _pattern(field: StringField) -> str:
    refused = r"\x00-\x1f\x7f" if field.one_line else r"\x00"
    return f"^[^{refused}]*$" if field.allow_blank else rf"^[^{refused}]*[^\s{refused}][^{refused}]*$"
