"""Which changes of an OpenAPI document are breaking, and how the changelog allows one."""

from copy import deepcopy

import pytest

from platform_core.topology import SERVICES
from tests import breaking
from tests.breaking import Break, breaks, main, named_in, not_named
from tests.documents import document

NAME = "POST /api/things/{id}"
THING = {
    "type": "object",
    "required": ["id", "size"],
    "properties": {
        "id": {"type": "string"},
        "size": {"type": ["number", "null"]},
        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
    },
}
REQUEST = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^a"},
        "kind": {"type": "string", "enum": ["big", "small"]},
        "count": {"type": ["integer", "string"], "minimum": 0, "maximum": 9},
        "note": {"type": "string"},
    },
}
PART = {"type": "object", "required": ["weight"], "properties": {"weight": {"type": "number"}}}


def json_of(name):
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


@pytest.fixture
def old():
    operation = {
        "parameters": [
            {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}},
            {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 200}},
            {"$ref": "#/components/parameters/Key"},
        ],
        "requestBody": {"content": json_of("ThingRequest")},
        "responses": {
            "200": {"description": "", "content": json_of("Thing")},
            "201": {"description": "", "content": json_of("Thing"), "headers": {"ETag": {}}},
            "404": {"description": ""},
        },
    }
    components = {
        "schemas": {"Thing": THING, "ThingRequest": REQUEST, "Part": PART},
        "parameters": {"Key": {"in": "header", "name": "Key", "schema": {"type": "string"}}},
    }
    return deepcopy({"paths": {"/api/things/{id}": {"post": operation}}, "components": components})


def place(document, path):
    """The member of the document at a path of words and numbers, and the last word."""
    *way, last = path.split("/")
    node = document
    for word in way:
        node = node[int(word)] if isinstance(node, list) else node[word.replace("|", "/")]
    return node, last


def changed(document, path, value=None):
    new = deepcopy(document)
    node, last = place(new, path)
    last = int(last) if isinstance(node, list) else last.replace("|", "/")
    if value is None:
        del node[last]
    else:
        node[last] = value
    return new


OPERATION = "paths/|api|things|{id}/post"
ASKED = "components/schemas/ThingRequest"
ANSWERED = "components/schemas/Thing"
NEEDED = {"in": "query", "name": "since", "required": True, "schema": {}}
BREAKING = [
    ("an operation is removed", OPERATION, None, "it is gone"),
    ("a path is removed", "paths/|api|things|{id}", None, "it is gone"),
    ("a parameter is removed", f"{OPERATION}/parameters/1", None, "query parameter limit is gone"),
    ("a common header is removed", f"{OPERATION}/parameters/2", None, "header parameter Key is gone"),
    ("a parameter is required", f"{OPERATION}/parameters/1/required", True, "query parameter limit is required now"),
    ("a required parameter is new", f"{OPERATION}/parameters/2", NEEDED, "query parameter since is required now"),
    ("a parameter is narrowed", f"{OPERATION}/parameters/1/schema/maximum", 50, "query parameter limit has a lower"),
    ("a body is required", f"{OPERATION}/requestBody/required", True, "a body is required now"),
    ("a body is not taken", f"{OPERATION}/requestBody", None, "it takes no body any more"),
    ("a media type is gone", f"{OPERATION}/requestBody/content", {"text/plain": {}}, "request: application/json is"),
    ("a token is wanted", f"{OPERATION}/security", [{"accessToken": []}], "it wants a token now"),
    ("a request's field is required", f"{ASKED}/required", ["name", "note"], "request.note is required now"),
    ("a request's field is removed", f"{ASKED}/properties/note", None, "request.note is gone"),
    ("a request's type is narrowed", f"{ASKED}/properties/count/type", "integer", "request.count may not be string"),
    ("a request's enum is narrowed", f"{ASKED}/properties/kind/enum", ["big"], "request.kind may not be small"),
    ("a request's text is made an enum", f"{ASKED}/properties/note/enum", ["x"], "request.note may not be anything"),
    ("a request's maximum is lowered", f"{ASKED}/properties/count/maximum", 8, "request.count has a lower maximum"),
    ("a request's minimum is raised", f"{ASKED}/properties/count/minimum", 1, "request.count has a higher minimum"),
    ("a request's length is bounded", f"{ASKED}/properties/note/maxLength", 5, "request.note has a lower maxLength"),
    ("a request's pattern is changed", f"{ASKED}/properties/name/pattern", "^b", "request.name has another pattern"),
    ("a success is removed", f"{OPERATION}/responses/201", None, "it does not answer 201 any more"),
    ("an answer's header is removed", f"{OPERATION}/responses/201/headers", {}, "201 comes without the header ETag"),
    ("an answer's form is removed", f"{OPERATION}/responses/200/content", {}, "200: application/json is gone"),
    ("an answer's field is removed", f"{ANSWERED}/properties/size", None, "200.size is gone"),
    ("an answer's field may be missing", f"{ANSWERED}/required", ["id"], "200.size may be missing now"),
    ("an answer's type is changed", f"{ANSWERED}/properties/id/type", "integer", "200.id may be integer now"),
    ("an answer may be null", f"{ANSWERED}/properties/id/type", ["string", "null"], "200.id may be null now"),
    ("a nested field is removed", "components/schemas/Part/properties/weight", None, "200.parts[].weight is gone"),
    ("a request's field is forbidden", f"{ASKED}/properties/note", False, "request.note may not be string any more"),
    ("alternatives are added", f"{ASKED}/oneOf", [{"required": ["note"]}], "request has other alternatives"),
]
HARMLESS = [
    ("an error is removed", f"{OPERATION}/responses/404", None),
    ("an answer is added", f"{OPERATION}/responses/202", {"description": ""}),
    ("a request's field is added", f"{ASKED}/properties/more", {"type": "string"}),
    ("a request's field is no longer required", f"{ASKED}/required", []),
    ("a request's maximum is raised", f"{ASKED}/properties/count/maximum", 10),
    ("a request's enum is widened", f"{ASKED}/properties/kind/enum", ["big", "small", "tiny"]),
    ("a request's type is widened", f"{ASKED}/properties/note/type", ["string", "null"]),
    ("an answer's field is added", f"{ANSWERED}/properties/more", {"type": "string"}),
    ("an answer is never null any more", f"{ANSWERED}/properties/size/type", "number"),
    ("an answer's number is whole", f"{ANSWERED}/properties/size/type", ["integer", "null"]),
    ("words are changed", f"{OPERATION}/summary", "Other words"),
]


@pytest.mark.parametrize(("path", "value", "said"), [case[1:] for case in BREAKING], ids=[case[0] for case in BREAKING])
def test_a_change_that_breaks_callers_is_named(old, path, value, said):
    found = breaks(old, changed(old, path, value))
    assert {each.operation for each in found} == {NAME}
    assert any(each.what.startswith(said) for each in found), found


@pytest.mark.parametrize(("path", "value"), [case[1:] for case in HARMLESS], ids=[case[0] for case in HARMLESS])
def test_a_compatible_change_passes(old, path, value):
    assert breaks(old, changed(old, path, value)) == []


def test_a_new_optional_parameter_is_not_breaking(old):
    new = deepcopy(old)
    new["paths"]["/api/things/{id}"]["post"]["parameters"].append({**NEEDED, "required": False})
    assert breaks(old, new) == []


def test_a_new_operation_is_not_breaking(old):
    new = deepcopy(old)
    new["paths"]["/api/more"] = {"get": new["paths"]["/api/things/{id}"]["post"]}
    assert breaks(old, new) == []
    assert [str(each) for each in breaks(new, old)] == ["GET /api/more: it is gone"]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.package)
def test_a_document_does_not_break_itself(service):
    found = document(service.package)
    assert breaks(found, deepcopy(found)) == []


CHANGELOG = """# Changelog

## Unreleased

### Breaking

- `POST /api/things/{id}` takes no `note` any more.

### Added

- `GET /api/things` is new.

## 1.0.0

### Breaking

- `GET /api/others` is gone.
"""
RELEASED = "## 1.0.0\n"


def test_a_breaking_change_is_allowed_if_the_changelog_names_it():
    named = named_in(CHANGELOG, RELEASED)
    passed = Break("POST /api/things/{id}", "request.note is gone")
    secret = [
        Break("POST /api/things", "it is gone"),
        Break("POST /api/things/{id}/parts", "it is gone"),
        Break("GET /api/things", "named elsewhere than under Breaking"),
        Break("GET /api/others", "named in a release that was before"),
    ]
    assert not_named([passed, *secret], named) == secret


def test_a_release_that_is_being_made_names_its_breaks_in_its_own_section():
    assert not_named([Break("GET /api/others", "it is gone")], named_in(CHANGELOG, "## 0.9.0\n")) == []


def test_a_comparison_without_an_earlier_version_says_so(monkeypatch, capsys):
    monkeypatch.setattr(breaking, "git", lambda *arguments: "")
    assert main([]) == 0
    assert "there is no earlier version" in capsys.readouterr().out


def test_an_unnamed_breaking_change_fails_with_instructions(monkeypatch, capsys):
    monkeypatch.setattr(breaking, "git", lambda *arguments: "")
    monkeypatch.setattr(breaking, "since", lambda ref: [Break("GET /api/things", "200.size is gone")])
    assert main(["v1"]) == 1
    said = capsys.readouterr().out
    assert "BREAKS  GET /api/things: 200.size is gone" in said
    assert "CHANGELOG.md" in said
