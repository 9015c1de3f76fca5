"""Examples of request bodies."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer

S = TypeVar("S", bound=type)


def request_examples(bodies: Mapping[str, Any]) -> Callable[[S], S]:
    """Decorates a serializer with examples by name, for the OpenAPI documents.

    A new raw form of the browsable API starts with the first one.
    """

    def decorate(serializer_class: S) -> S:
        serializer_class.request_examples = bodies  # type: ignore[attr-defined]
        examples = [OpenApiExample(name, body, request_only=True) for name, body in bodies.items()]
        return extend_schema_serializer(examples=examples)(serializer_class)

    return decorate
