"""Query strings, validated like bodies: each list names its parameters in a serializer, and no other is taken."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from platform_core.api.fields import WholeField
from platform_core.api.pages import DEFAULT_LIMIT, MAX_LIMIT
from platform_core.api.validation import validated, validator
from platform_core.errors import InvalidInput


class Query(serializers.Serializer[Any]):
    """What a client may ask for. The names are the wire's; ``source`` gives the use case's."""


class PageQuery(Query):
    """Every list has these."""

    limit = WholeField(default=DEFAULT_LIMIT, min_value=1, max_value=MAX_LIMIT, help_text="Page size.")
    cursor = serializers.CharField(
        default="", max_length=2000, trim_whitespace=False, help_text="From `next` or `previous` of another page."
    )


class TrueField(serializers.ChoiceField):
    """``true`` or ``false``; anything else is an error rather than a guess."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=["true", "false"], **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data) == "true"


def read_query(request: Request, query_class: type[Query]) -> dict[str, Any]:
    """The parameters that were given, and the defaults. Raises InvalidInput naming unknown ones."""
    fields = validator(query_class).fields
    unknown = [name for name in request.query_params if name not in fields]
    if unknown:
        known = ", ".join(fields)
        errors = [{"field": name[:100], "code": "unknown", "detail": f"Known are: {known}."} for name in unknown[:20]]
        raise InvalidInput(f"Unknown query parameter {unknown[0][:100]!r}.", errors=errors)
    return validated(query_class, request.query_params.dict())
