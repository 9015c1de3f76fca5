"""The OpenAPI documents of the five services, generated and as committed.

`python -m tests.documents` writes what the code says to docs/openapi.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from platform_core.conf.environment import ROOT
from platform_core.topology import SERVICES, Service
from tests.suites import plain_environment

COMMAND = "make openapi"
FOLDER = ROOT / "docs" / "openapi"
Schema = dict[str, Any]


@cache
def generated(package: str) -> tuple[Schema, str]:
    """A service's document, and what was said on the way. In a process of its own, for its own settings."""
    command = [sys.executable, "manage.py", package, "spectacular", "--validate", "--fail-on-warn"]
    done = subprocess.run(
        [*command, "--format", "openapi-json"],
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def document(package: str) -> Schema:
    return generated(package)[0]


def committed(service: Service) -> Path:
    return FOLDER / f"{service.name}.json"


def written(found: Schema) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def operations_of(found: Schema) -> dict[str, Schema]:
    """By method and path: ``GET /api/users/{id}``."""
    return {
        f"{method.upper()} {path}": operation
        for path, item in found["paths"].items()
        for method, operation in item.items()
    }


def target(found: Schema, node: Schema) -> Schema:
    """The node, or what it refers to within the document."""
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


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for service in SERVICES:
        committed(service).write_text(written(document(service.package)))
        print(committed(service).relative_to(ROOT))


if __name__ == "__main__":
    main()
