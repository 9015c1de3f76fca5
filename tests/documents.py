"""The OpenAPI documents of the services, generated and as committed. `make generate` writes them to docs/openapi."""

from functools import cache
from pathlib import Path
from typing import Any

from platform_core.conf.environment import ROOT
from platform_core.tools.generate import document_path, openapi_document
from platform_core.topology import Service

Schema = dict[str, Any]


@cache
def generated(package: str) -> tuple[Schema, str]:
    """Generates a service's document. Returns it with the warnings."""
    return openapi_document(package)


def document(package: str) -> Schema:
    return generated(package)[0]


def committed(service: Service) -> Path:
    return ROOT / document_path(service)


def operations_of(found: Schema) -> dict[str, Schema]:
    """The operations by method and path, such as ``GET /api/users/{id}``."""
    return {
        f"{method.upper()} {path}": operation
        for path, item in found["paths"].items()
        for method, operation in item.items()
    }


def target(found: Schema, node: Schema) -> Schema:
    """Resolves a reference within the document."""
    while "$ref" in node:
        name, node = node["$ref"], found
        for part in name.removeprefix("#/").split("/"):
            node = node[part]
    return node


def operations(package: str) -> dict[str, Schema]:
    return operations_of(document(package))


def resolved(package: str, node: Schema) -> Schema:
    return target(document(package), node)


def schema_of(package: str, response: Schema, media_type: str = "application/json") -> Schema:
    return resolved(package, resolved(package, response)["content"][media_type]["schema"])
