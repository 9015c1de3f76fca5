"""Validating what came in, by serializers that are built once: DRF copies all fields for each new one."""

from functools import cache
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer


def validated(serializer_class: type[Serializer[Any]], data: Any, *, partial: bool = False) -> dict[str, Any]:
    """``data`` as the serializer takes it. Raises rest_framework's ValidationError."""
    try:
        value: dict[str, Any] = validator(serializer_class, partial).run_validation(data)
    except ValidationError:
        serializer_class(data=data, partial=partial).is_valid(raise_exception=True)  # says it as DRF does elsewhere
        raise
    return value


@cache
def validator(serializer_class: type[Serializer[Any]], partial: bool = False) -> Serializer[Any]:
    """One for all threads: validation keeps nothing in the serializer or its fields, and ours ask for no context."""
    return serializer_class(partial=partial)
