"""The OpenAPI documents of all services: valid, complete, and true to the contract."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from platform_core.auth.access import bare
from platform_core.auth.rules import rules_of
from platform_core.tools.generate import as_text
from platform_core.topology import BY_PACKAGE, SERVICES
from tests.documents import committed, document, generated, operations, resolved, schema_of

PACKAGES = [service.package for service in SERVICES]
WITH_FEED = [service.package for service in SERVICES if service.has_feed]
PROMISED = {
    "user_svc": [
        *("GET /api/users", "POST /api/users"),
        *(f"{method} /api/users/{{id}}" for method in ("GET", "PUT", "PATCH", "DELETE")),
        *("GET /api/users/me", "POST /api/users/me/password", "GET /.well-known/jwks.json"),
        *(f"POST /api/auth/{action}" for action in ("token", "refresh", "logout")),
    ],
    "product_svc": [
        *("GET /api/products", "POST /api/products", "POST /api/products/bulk"),
        *(f"{method} /api/products/{{id}}" for method in ("GET", "PUT", "PATCH", "DELETE")),
        *(f"{method} /api/products/{{productId}}/stock-adjustments" for method in ("GET", "POST")),
        *(f"{method} /api/stock-reservations/{{orderId}}" for method in ("GET", "PUT", "DELETE")),
    ],
    "order_svc": [
        *("GET /api/orders", "POST /api/orders", "GET /api/orders/{id}", "GET /api/orders/user/{userId}"),
        *(f"POST /api/orders/{{id}}/{action}" for action in ("cancel", "ship", "deliver")),
    ],
    "notification_svc": [
        *("GET /api/notifications", "GET /api/notifications/{userId}", "POST /api/notifications/send"),
    ],
    "analytics_svc": [
        f"GET /api/analytics/{report}"
        for report in ("summary", "users", "products", "orders", "notifications", "platform")
    ],
}
"""The operations of the first contract. Services that are added later test theirs in their own suites."""
HEALTH = ["GET /health", "GET /health/live", "GET /health/ready"]
"""Routes outside the API. They always return JSON, and their 503 has the members of the 200."""
LISTS = [
    ("user_svc", "GET /api/users"),
    ("product_svc", "GET /api/products"),
    ("product_svc", "GET /api/products/{productId}/stock-adjustments"),
    ("order_svc", "GET /api/orders"),
    ("order_svc", "GET /api/orders/user/{userId}"),
    ("notification_svc", "GET /api/notifications"),
    ("notification_svc", "GET /api/notifications/{userId}"),
]


def body_of(package: str, operation: str) -> dict[str, Any]:
    content: dict[str, Any] = operations(package)[operation]["requestBody"]["content"]["application/json"]
    return content


@pytest.mark.parametrize("service", PACKAGES)
def test_it_is_valid_openapi_3_1_and_nothing_had_to_be_guessed(service):
    found, said = generated(service)
    assert found["openapi"].startswith("3.1")
    assert "Warning" not in said
    assert found["info"]["title"] == service.replace("_svc", "-service")
    assert found["info"]["description"]


@pytest.mark.parametrize("service", PACKAGES)
def test_the_committed_document_is_the_present_one(service):
    file = committed(BY_PACKAGE[service])
    up_to_date = file.exists() and file.read_text() == as_text(document(service))
    assert up_to_date, f"{file.name} is not what the code says: run `make generate`, look at the difference, commit it"


@pytest.mark.parametrize("service", PROMISED)
def test_it_describes_every_route_of_the_contract(service):
    feed = ["GET /api/events"] if service in WITH_FEED else []
    assert not set(PROMISED[service] + feed + HEALTH) - set(operations(service))


@pytest.mark.parametrize("service", PACKAGES)
def test_operation_ids_are_unique_names_in_camel_case(service):
    ids = [operation["operationId"] for operation in operations(service).values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z]+([A-Z][a-z]+)+", name) for name in ids)


@pytest.mark.parametrize("service", PACKAGES)
def test_every_name_on_the_wire_is_in_camel_case(service):
    camel = re.compile("[a-z][a-zA-Z0-9]*")
    schemas = document(service)["components"]["schemas"].values()
    names = {name for schema in schemas for name in schema.get("properties", {})}
    for operation in operations(service).values():
        parameters = [resolved(service, parameter) for parameter in operation["parameters"]]
        names |= {parameter["name"] for parameter in parameters if parameter["in"] != "header"}
    assert not [name for name in names if not camel.fullmatch(name)]


@pytest.mark.parametrize("service", PACKAGES)
def test_a_request_has_no_other_members(service):
    schemas = document(service)["components"]["schemas"]
    for name in (name for name in schemas if name.endswith("Request")):
        assert schemas[name]["additionalProperties"] is False, name
    for name, described in operations(service).items():
        taken = list(described.get("requestBody", {}).get("content", {}))
        patch = ["application/merge-patch+json"] if name.startswith("PATCH") else []
        assert taken in ([], ["application/json", *patch]), name


def nodes(part: Any) -> Iterator[Any]:
    """All parts of a document."""
    yield part
    children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for child in children:
        yield from nodes(child)


@pytest.mark.parametrize("service", PACKAGES)
def test_generators_of_clients_can_use_it(service):
    """No keywords that openapi-python-client, openapi-typescript or OpenAPI Generator cannot translate."""
    whole = document(service)
    for name, schema in whole["components"]["schemas"].items():
        found = [part for part in nodes(schema) if isinstance(part, dict)]
        assert not [part for part in found if {"anyOf", "not"} & part.keys()], name
        assert all(part["oneOf"][1:] == [{"type": "null"}] for part in found if "oneOf" in part), name
        members = [member for part in found for member in part.get("properties", {}).values()]
        assert not [member for member in members if isinstance(member, bool)], name
        assert not [part for part in found if "default" in part], name
        types = [part["type"] for part in found if isinstance(part.get("type"), list)]
        assert all(len(several) == 2 and several[1] == "null" for several in types), name
        assert not {"Told", "Moment", "Standing"} & {name.removesuffix("Request")}
    assert [server["url"] for server in whole["servers"]] == ["/", f"http://localhost:{BY_PACKAGE[service].port}"]
    assert all("security" in operation for operation in operations(service).values())


@pytest.mark.parametrize(
    ("service", "tags"),
    [
        ("user_svc", ["users", "auth", "events", "back-office", "health"]),
        ("product_svc", ["products", "stock-reservations", "events", "people", "back-office", "health"]),
        ("order_svc", ["orders", "events", "people", "back-office", "health"]),
        ("notification_svc", ["notifications", "webhooks", "events", "people", "back-office", "health"]),
        ("analytics_svc", ["analytics", "people", "back-office", "health"]),
    ],
)
def test_groups_are_in_the_order_of_a_reader(service, tags):
    whole = document(service)
    assert [tag["name"] for tag in whole["tags"]] == tags
    assert list(dict.fromkeys(o["tags"][0] for item in whole["paths"].values() for o in item.values())) == tags


@pytest.mark.parametrize("service", PACKAGES)
def test_an_answer_has_all_its_members(service):
    schemas = document(service)["components"]["schemas"]
    answers = {name: schema for name, schema in schemas.items() if not name.endswith("Request")}
    for name in answers.keys() - {"Problem", "FieldError"}:
        optional = {
            "Health": {"version", "mode", "uptimeSeconds", "checks"},  # not for strangers
            "WebhookWithSecret": {"secret"},  # shown once
        }.get(name, set())
        assert set(schemas[name]["required"]) == set(schemas[name]["properties"]) - optional, name


@pytest.mark.parametrize("service", PACKAGES)
def test_a_problem_is_described_as_it_is_answered(service):
    problem = document(service)["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == {"type", "title", "status", "detail", "code", "requestId"}
    assert set(resolved(service, problem["properties"]["errors"]["items"])["required"]) == {"field", "code", "detail"}


@pytest.mark.parametrize("service", PACKAGES)
def test_every_operation_says_what_it_does_and_what_it_answers(service):
    for name, described in operations(service).items():
        assert 0 < len(described["summary"]) < 120, name
        assert described["description"], name
        assert described["tags"], name
        assert [status for status in described["responses"] if status.startswith("2")], name
        assert all(resolved(service, answer)["description"] for answer in described["responses"].values()), name


@pytest.mark.parametrize("service", PACKAGES)
def test_every_error_is_a_problem(service):
    for name, described in operations(service).items():
        for status, answer in described["responses"].items():
            if status >= "400" and (name not in HEALTH or status != "503"):
                content = resolved(service, answer)["content"]
                assert list(content) == ["application/problem+json"], name
                problem = content["application/problem+json"]
                assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}, name
                assert problem["example"]["status"] == int(status), name


def takes_a_key(name: str) -> bool:
    """Every POST but those that sign in or out and the change of a password."""
    return name.startswith("POST") and "/api/auth/" not in name and not name.endswith("/password")


@pytest.mark.parametrize("service", PACKAGES)
def test_the_document_lists_the_common_errors(service):
    for name, described in operations(service).items():
        method, path = name.split(" ")
        expected = {"400", "414", "431"} | (set() if name in HEALTH else {"503"})
        if method == "GET" and name not in HEALTH:
            expected.add("406")
        if "{" in path:
            expected.add("404")
        if method in ("POST", "PUT", "PATCH"):
            expected |= {"409", "413", "415"}
        if takes_a_key(name):
            expected.add("422")
        assert not expected - set(described["responses"]), name
        assert ("406" in described["responses"]) == ("406" in expected), name


@pytest.mark.parametrize("service", PACKAGES)
def test_the_document_lists_the_common_headers(service):
    for name, described in operations(service).items():
        found = [resolved(service, parameter) for parameter in described["parameters"]]
        headers = {parameter["name"] for parameter in found if parameter["in"] == "header"}
        assert {"X-Request-ID", "X-Request-Timeout"} <= headers, name
        if name in PROMISED.get(service, operations(service)):
            assert ("Idempotency-Key" in headers) == takes_a_key(name), name


@pytest.mark.parametrize("service", PACKAGES)
def test_the_document_states_who_may_call_an_operation(service):
    """A token is asked for where the rules ask for one, and only there."""
    rules = {
        (method, rule.route): rule
        for rule in rules_of(BY_PACKAGE[service], BY_PACKAGE[service].access_module)
        for method in rule.methods
    }
    for name, described in operations(service).items():
        method, path = name.split(" ")
        rule = rules[method, bare(path)]
        closed = [] if rule.anybody else [{"accessToken": []}, {"session": []}]
        assert described.get("security", []) == closed, name
        assert ({"401", "403"} <= set(described["responses"])) == bool(closed), name
    assert {"accessToken", "session"} <= set(document(service)["components"]["securitySchemes"])


@pytest.mark.parametrize(("service", "name"), LISTS)
def test_a_list_is_answered_in_pages(service, name):
    described = operations(service)[name]
    page = schema_of(service, described["responses"]["200"])
    assert set(page["required"]) == set(page["properties"]) == {"results", "next", "previous"}
    assert page["properties"]["next"]["type"] == ["string", "null"]
    assert page["properties"]["results"]["type"] == "array"
    found = {parameter.get("name"): parameter.get("schema") for parameter in described["parameters"]}
    assert (found["limit"]["minimum"], found["limit"]["maximum"], found["limit"]["default"]) == (1, 200, 50)
    assert "cursor" in found


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("user_svc", "GET /api/users/{id}"),
        ("product_svc", "GET /api/products/{id}"),
        ("order_svc", "GET /api/orders/{id}"),
    ],
)
def test_a_single_resource_can_be_asked_for_conditionally(service, name):
    described = operations(service)[name]
    assert "304" in described["responses"]
    assert "ETag" in described["responses"]["200"]["headers"]
    assert "If-None-Match" in [resolved(service, parameter)["name"] for parameter in described["parameters"]]


@pytest.mark.parametrize(("service", "path"), [("user_svc", "/api/users/{id}"), ("product_svc", "/api/products/{id}")])
def test_writing_can_be_made_conditional(service, path):
    for method in ("PUT", "PATCH", "DELETE"):
        described = operations(service)[f"{method} {path}"]
        assert "412" in described["responses"]
        assert "If-Match" in [resolved(service, parameter)["name"] for parameter in described["parameters"]]
    assert "content" not in operations(service)[f"DELETE {path}"]["responses"]["204"]


@pytest.mark.parametrize(("service", "path"), [("user_svc", "/api/users/{id}"), ("product_svc", "/api/products/{id}")])
def test_a_patch_wants_nothing_in_particular(service, path):
    patched = resolved(service, body_of(service, f"PATCH {path}")["schema"])
    assert "required" not in patched
    assert resolved(service, body_of(service, f"PUT {path}")["schema"])["required"]


@pytest.mark.parametrize(
    ("service", "name", "linked"),
    [
        ("user_svc", "POST /api/users", {"getUser", "replaceUser", "updateUser", "deleteUser"}),
        ("product_svc", "POST /api/products", {"getProduct", "deleteProduct", "createStockAdjustment"}),
        ("order_svc", "POST /api/orders", {"getOrder", "cancelOrder", "shipOrder", "deliverOrder", "explainOrder"}),
    ],
)
def test_a_created_resource_links_to_its_operations(service, name, linked):
    links = operations(service)[name]["responses"]["201"]["links"]
    assert linked <= set(links)
    assert {value for link in links.values() for value in link["parameters"].values()} == {"$response.body#/id"}


def test_forms_omit_read_only_fields():
    user = resolved("user_svc", body_of("user_svc", "POST /api/users")["schema"])
    assert set(user["properties"]) == {"name", "email", "password", "phone", "address"}
    assert "password" not in document("user_svc")["components"]["schemas"]["User"]["properties"]


def test_ids_and_amounts_have_one_type_in_requests_and_answers():
    asked = resolved("product_svc", body_of("product_svc", "POST /api/products")["schema"])["properties"]
    answered = document("product_svc")["components"]["schemas"]["Product"]["properties"]
    assert asked["price"]["type"] == answered["price"]["type"] == "number"
    order = resolved("order_svc", body_of("order_svc", "POST /api/orders")["schema"])["properties"]
    assert order["userId"]["type"] == "string"
    assert document("order_svc")["components"]["schemas"]["Order"]["properties"]["userId"]["type"] == "string"


def test_a_reservation_is_new_or_there_already():
    responses = operations("product_svc")["PUT /api/stock-reservations/{orderId}"]["responses"]
    assert {"200", "201", "409", "422"} <= set(responses)
    assert schema_of("product_svc", responses["200"]) == schema_of("product_svc", responses["201"])
    assert {"204", "412"} <= set(operations("product_svc")["DELETE /api/stock-reservations/{orderId}"]["responses"])


def test_moving_an_order_takes_no_body():
    for action in ("cancel", "ship", "deliver"):
        described = operations("order_svc")[f"POST /api/orders/{{id}}/{action}"]
        assert "requestBody" not in described
        assert "status" in schema_of("order_svc", described["responses"]["200"])["properties"]


@pytest.mark.parametrize("service", WITH_FEED)
def test_the_feed_is_a_batch_of_cloud_events(service):
    described = operations(service)["GET /api/events"]
    batch = schema_of(service, described["responses"]["200"], "application/cloudevents-batch+json")
    assert batch["type"] == "array"
    event = resolved(service, batch["items"])
    assert {"specversion", "id", "type", "source", "subject", "time", "data"} <= set(event["required"])
    assert {"409", "410"} <= set(described["responses"])


@pytest.mark.parametrize(("service", "name"), [(s, n) for s, names in PROMISED.items() for n in names if n[:2] == "PO"])
def test_examples_are_valid(service, name):
    if "requestBody" not in operations(service)[name]:
        return
    content = body_of(service, name)
    rules = {**content["schema"], "components": document(service)["components"]}
    assert content["examples"]
    for example in content["examples"].values():
        jsonschema.Draft202012Validator(rules).validate(example["value"])


@pytest.mark.parametrize(
    ("order", "fits"),
    [
        ({"userId": "1", "productId": "2", "quantity": 3}, True),
        ({"userId": "1", "items": [{"productId": "2", "quantity": 3}]}, True),
        ({"productId": "2", "quantity": 3}, False),
        ({"userId": "1", "items": []}, False),
        ({"userId": "1", "productId": "2", "quantity": 3, "note": "x"}, False),
        ({"userId": "x", "productId": "2", "quantity": 3}, False),
        ({"userId": "1", "productId": "2", "quantity": 0}, False),
    ],
)
def test_an_order_is_one_product_or_a_list_of_items(order, fits):
    rules = {**body_of("order_svc", "POST /api/orders")["schema"], "components": document("order_svc")["components"]}
    assert jsonschema.Draft202012Validator(rules).is_valid(order) == fits


@pytest.mark.parametrize(
    ("accept", "media_type", "start"),
    [
        ("*/*", "application/json", b'{"openapi":"3.1.0"'),
        ("application/json", "application/json", b'{"openapi":"3.1.0"'),
        ("text/html,*/*;q=0.8", "application/json", b'{"openapi":"3.1.0"'),
        ("application/vnd.oai.openapi+json", "application/vnd.oai.openapi+json", b'{\n    "openapi": "3.1.0"'),
        ("application/yaml", "application/yaml; charset=utf-8", b"openapi: 3.1.0"),
        ("application/vnd.oai.openapi", "application/vnd.oai.openapi; charset=utf-8", b"openapi: 3.1.0"),
    ],
)
def test_the_schema_is_json_unless_yaml_is_asked_for(client, accept, media_type, start):
    answer = client.get("/api/schema", headers={"Accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (200, media_type)
    assert answer.content.startswith(start)


def test_a_schema_in_another_form_is_a_problem(client):
    answer = client.get("/api/schema", headers={"Accept": "application/xml"})
    assert (answer.status_code, answer["Content-Type"]) == (406, "application/problem+json")


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_the_docs_are_a_page_that_needs_no_other_host(client, accept):
    answer = client.get("/api/docs", headers={"Accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = answer.content.decode()
    assert not re.findall(r"""src=["'](?:https?:)?//[^"']*""", page)
    assert not re.findall(r"""<link [^>]*href=["'](?:https?:)?//[^"']*""", page)
    (script,) = re.findall(r'src="(/api/docs[^"]*)"', page)
    assert '"/api/schema"' in client.get(script, headers={"Accept": "*/*"}).content.decode()
    for resource in re.findall(r"""(?:src|href)=["'](/static/[^"']*)""", page):
        assert client.get(resource).status_code == 200


def test_the_docs_refuse_other_methods_with_a_problem(client):
    answer = client.post("/api/docs", headers={"Accept": "*/*"})
    assert (answer.status_code, answer["Content-Type"]) == (405, "application/problem+json")
