"""Every operation of a service takes the media types that its document names, as generated clients send them.

It refuses a parameter that is given twice, unless the document says that it may be repeated.

A suite includes these tests with ``from tests.acceptance import *``.
"""

import re
from typing import Any

import pytest
from django.conf import settings

from tests.documents import operations, resolved
from tests.wire import assert_problem

__all__ = [
    "pytestmark",
    "test_each_documented_media_type_is_taken",
    "test_only_documented_filters_may_be_repeated",
    "test_only_successful_reads_are_refused",
]

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"
MISSING = "987654321"
"""An id that nothing has."""


def documented(operation: dict[str, Any]) -> list[str]:
    """The media types of all responses, and their union."""
    package = settings.SERVICE.package
    responses = [resolved(package, response) for response in operation["responses"].values()]
    types = list(dict.fromkeys(name for response in responses for name in response.get("content", {})))
    return [*types, ", ".join(types), ", ".join(reversed(types))]


def ask(api: Any, name: str, accept: str) -> Any:
    """Sends an operation with an empty body to an id that does not exist."""
    method, path = name.split(" ")
    body = {} if method in ("POST", "PUT", "PATCH") else None
    call = getattr(api.client, method.lower())
    return call(re.sub(r"{\w+}", MISSING, path), body, format="json" if body is not None else None, HTTP_ACCEPT=accept)


def test_each_documented_media_type_is_taken(api: Any, subtests: Any) -> None:
    for name, operation in operations(settings.SERVICE.package).items():
        assert PROBLEM in documented(operation), name
        for accept in documented(operation):
            with subtests.test(operation=name, accept=accept):
                answer = ask(api, name, accept)
                assert answer.status_code != 406
                if answer.status_code >= 400:
                    assert_problem(answer, answer.status_code, answer.json()["code"])


def test_only_successful_reads_are_refused(api: Any, subtests: Any) -> None:
    for name in operations(settings.SERVICE.package):
        with subtests.test(operation=name):
            expected = ask(api, name, "*/*").status_code
            is_refused = name.startswith("GET") and "/health" not in name and expected == 200
            assert ask(api, name, "text/plain").status_code == (406 if is_refused else expected)


def example(schema: dict[str, Any]) -> str:
    """A value that a query parameter takes."""
    if schema.get("enum"):
        return str(schema["enum"][0])
    kinds = {"integer": "1", "number": "1", "boolean": "true"}
    return "2030-01-01T00:00:00Z" if schema.get("format") == "date-time" else kinds.get(schema["type"], "a")


def test_only_documented_filters_may_be_repeated(api: Any, subtests: Any) -> None:
    package = settings.SERVICE.package
    for name, operation in operations(package).items():
        parameters = [resolved(package, parameter) for parameter in operation["parameters"]]
        queries = [each for each in parameters if each["in"] == "query"]
        for parameter in queries:
            field, schema = parameter["name"], parameter["schema"]
            path = re.sub(r"{\w+}", MISSING, name.split(" ")[1])
            with subtests.test(operation=name, parameter=field):
                if schema["type"] == "array":
                    value = example(resolved(package, schema["items"]))
                    accepted = 404 if path.startswith("/api/webhooks/") else 200  # there is no such webhook
                    needed = [f"{each['name']}={example(each['schema'])}" for each in queries if each.get("required")]
                    for times, status in ((2, accepted), (20, accepted), (21, 400)):
                        query = "&".join([*needed, *[f"{field}={value}"] * times])
                        assert api.get(f"{path}?{query}").status_code == status
                else:
                    value = example(schema)
                    twice = assert_problem(api.get(f"{path}?{field}={value}&{field}={value}"), 400, "invalid", [field])
                    assert [error["code"] for error in twice] == ["repeated"]
