"""Compares the requests and needs of the typed clients in `platform_core` with the services' OpenAPI documents.

A suite includes these tests with ``from tests.contracts import *``, for the services in ``CALLEES``: the suite
of the library for all, a service's suite for itself. Only the transport is faked. The document must accept each
request. The client must understand every success response, which is generated from its schema. And the document
must promise every member of the type that the client reads.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import msgspec
from django.conf import settings as django_settings

from platform_core.clients import feeds, finding, health, notifications, products, users
from platform_core.clients import people as people_client
from platform_core.clients.errors import CallerRefused, PeerRefused
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service
from platform_core.vocabulary import Role
from tests import people
from tests.documents import document, operations_of, target

__all__ = [
    "pytest_generate_tests",
    "test_the_client_understands_the_documented_responses",
    "test_the_document_accepts_the_clients_requests",
    "test_the_document_has_every_member_that_the_client_reads",
    "test_the_document_lists_the_refusals_that_callers_handle",
]

Schema = dict[str, Any]
MODULES = (feeds, finding, health, notifications, people_client, products, users)
FEEDING = [service for service in SERVICES if service.has_feed]
TELLING = [service for service in SERVICES if service is not USER]
"""The services that user-service asks for what they hold of a person."""
LISTS = {USER: "/api/users", PRODUCT: "/api/products", ORDER: "/api/orders", NOTIFICATION: "/api/notifications"}
"""The lists that analytics-service reads if a feed is incomplete."""
OF_ALL = {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "traceparent"}
OF_ALL |= {"user-agent"}
"""Headers of HTTP itself, which operations do not describe."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A call of a client. ``reads`` is the type that it decodes, or None if it only needs the status.

    ``refusals`` are the statuses that the client or its callers handle. ``like`` are members that a generated
    response must have, because the client compares them with its request.
    """

    callee: Service
    client: Callable[..., Any]
    arguments: Sequence[Any] = ()
    keywords: Schema = field(default_factory=dict)
    reads: Any = None
    refusals: tuple[int, ...] = ()
    like: Schema = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.client.__name__}@{self.callee.name}"

    def run(self) -> Any:
        return self.client(*self.arguments, **self.keywords)


LETTER = {"user_id": 7, "type": "order_confirmed", "subject": "Your order", "message": "Thank you."}
ADDRESSED = {"recipient": "ann@example.com", "data": {"orderId": "9", "lines": [{"name": "Lamp"}]}}
RESERVED = {"items": [{"productId": "3", "name": "Lamp", "unitPrice": 1.5, "quantity": 2}]}
STAFF_SESSION = "7a1b2c3d-0000-4000-8000-000000000001"
CONTRACTS = [
    Contract(USER, users.get_user, [7], reads=users.User, refusals=(404,)),
    Contract(USER, users.key_set, reads=dict[str, Any]),
    Contract(
        USER,
        users.sign_staff_in,
        ["a@example.com", "secret", "::1"],
        reads=users.StaffSignIn,
        refusals=(401, 403, 422, 429),
    ),
    Contract(USER, users.staff_account, [7], reads=users.StaffAccount, refusals=(404,)),
    Contract(USER, users.staff_account, [7, STAFF_SESSION], reads=users.StaffAccount, refusals=(404,)),
    Contract(USER, users.end_staff_session, [7, STAFF_SESSION]),
    Contract(
        PRODUCT, products.reserve_stock, [9, {3: 2}], reads=products.Reservation, refusals=(409, 422), like=RESERVED
    ),
    Contract(PRODUCT, products.newest_reservation, [], {"timeout": 1.0}, reads=products._Newest),
    Contract(PRODUCT, products.get_reservation, [9], {"timeout": 1.0}, reads=products.Reservation, refusals=(404,)),
    Contract(PRODUCT, products.release_stock, [9]),
    Contract(NOTIFICATION, notifications.send_notification, ["order-9"], LETTER, refusals=(409, 422)),
    Contract(
        NOTIFICATION,
        notifications.send_notification,
        ["account-mail-9"],
        {**LETTER, "recipient": "a@example.com", "confidential": True},
        refusals=(409, 422),
    ),
    Contract(NOTIFICATION, notifications.send_notification, ["order-9"], {**LETTER, **ADDRESSED}, refusals=(409, 422)),
    Contract(NOTIFICATION, notifications.find_notification, ["order-9"], {"timeout": 1.0}, reads=notifications._Page),
    *(
        Contract(each, feeds.read_feed, [each.name, "1-2-3"], reads=list[feeds.Event], refusals=(410,))
        for each in FEEDING
    ),
    *(Contract(each, feeds.read_kept_feed, [each.name], reads=list[feeds.Event]) for each in FEEDING),
    *(Contract(each, feeds.read_list, [each.name, path], reads=feeds.ListPage) for each, path in LISTS.items()),
    *(Contract(each, people_client.erase_person_at, [each.name, 7]) for each in TELLING),
    *(
        Contract(each, people_client.person_page, [each.name, 7, "0-5"], reads=people_client.PersonPage)
        for each in TELLING
    ),
    *(
        Contract(each, finding.find_at, [each.name, "req-1", [Role.ORDERS, Role.SUPPORT], 1.0], reads=finding._Matches)
        for each in SERVICES
    ),
    *(Contract(each, health.get_health, [each.name], reads=health.Health) for each in SERVICES),
]


def pytest_generate_tests(metafunc: Any) -> None:
    if "contract" in metafunc.fixturenames:
        mine = [contract for contract in CONTRACTS if contract.callee in metafunc.module.CALLEES]
        metafunc.parametrize("contract", mine, ids=str)


def test_the_document_accepts_the_clients_requests(contract: Contract, peers: Any, settings: Any) -> None:
    settings.SERVICE_KEY = people.private_service_key(settings.SERVICE.name)
    callee = Callee(contract)
    callee.listen(peers)
    contract.run()
    (request,) = callee.asked
    wrong = list(misfits(callee, request))
    assert not wrong, f"{contract.callee.name} does not describe this: {wrong}"


def test_the_client_understands_the_documented_responses(contract: Contract, peers: Any) -> None:
    """Tried with all members, and with the required ones only."""
    callee = Callee(contract)
    callee.listen(peers)
    contract.run()
    _, operation = callee.operation(callee.asked[0])
    successes = [status for status in operation["responses"] if status.startswith("2")]
    for status in successes:
        for whole in (True, False):
            callee.status, callee.whole = int(status), whole
            contract.run()
    assert len(callee.asked) == 1 + 2 * len(successes), "a call was tried again"


def test_the_document_has_every_member_that_the_client_reads(contract: Contract, peers: Any) -> None:
    callee = Callee(contract)
    callee.listen(peers)
    contract.run()
    _, operation = callee.operation(callee.asked[0])
    answers = [target(callee.document, answer) for status, answer in operation["responses"].items() if status[0] == "2"]
    schemas = [content["schema"] for answer in answers for content in answer.get("content", {}).values()]
    assert bool(schemas) or contract.reads is None
    shape = None if contract.reads is None else msgspec.inspect.type_info(contract.reads)
    wrong = [text for schema in schemas if shape for text in lacking(callee.document, schema, shape, "answer")]
    assert not wrong, f"{contract.client.__name__} needs what {contract.callee.name} does not promise: {wrong}"


def test_the_document_lists_the_refusals_that_callers_handle(contract: Contract, peers: Any) -> None:
    """A refusal that the client does not handle itself reaches the caller with its status."""
    callee = Callee(contract)
    callee.listen(peers)
    contract.run()
    _, operation = callee.operation(callee.asked[0])
    assert {str(status) for status in contract.refusals} <= set(operation["responses"])
    for callee.status in contract.refusals:
        assert refused(contract) in (callee.status, None)


def refused(contract: Contract) -> int | None:
    """The status of the refusal, or None if the client handles it."""
    try:
        found = contract.run()
    except (PeerRefused, CallerRefused) as refusal:
        return refusal.status
    return 200 if found is not None else None


def uncovered() -> set[str]:
    """The functions of the typed clients without a contract, but for those that make no call of their own."""
    covered = {*(contract.client for contract in CONTRACTS), feeds.has_expired, people_client.person_rows}
    return {
        f"{module.__name__}.{name}"
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and name[0] != "_" and function not in covered
    }


class Callee:
    """A fake service, made from its document. It answers ``status``; ``whole`` responses have all members."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.document = document(contract.callee.package)
        self.status, self.whole = 0, True
        self.asked: list[Any] = []

    def listen(self, peers: Any) -> None:
        url = re.compile(re.escape(django_settings.PEER_URLS[self.contract.callee.name]) + "/.*")
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            peers.add_callback(method, url, callback=self.answer)

    def operation(self, request: Any) -> tuple[str, Schema]:
        """The operation of the request and its name. A path without parameters takes precedence."""
        path = urlsplit(request.url).path
        for name, operation in sorted(operations_of(self.document).items(), key=lambda item: "{" in item[0]):
            method, template = name.split(" ")
            if method == request.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return name, operation
        raise AssertionError(f"{self.contract.callee.name} has no {request.method} {path}")

    def answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        self.asked.append(request)
        _, operation = self.operation(request)
        status = self.status or int(min(status for status in operation["responses"] if status[0] == "2"))
        content = target(self.document, operation["responses"][str(status)]).get("content", {})
        if not content:
            return status, {}, ""
        media_type = request.headers["Accept"] if request.headers["Accept"] in content else next(iter(content))
        body = sample(self.document, content[media_type]["schema"], whole=self.whole)
        if status < 300:
            body = {**body, **self.contract.like} if isinstance(body, dict) else body
            validated(self.document, content[media_type]["schema"], body)
        elif status == 401:
            body["code"] = "invalid_credentials"
        return status, {"Content-Type": media_type}, json.dumps(body)


def misfits(callee: Callee, request: Any) -> Iterator[str]:
    """Yields the parts of a request that the document does not accept."""
    name, operation = callee.operation(request)
    parameters = [target(callee.document, each) for each in operation["parameters"]]
    known = {(each["in"], each["name"].lower()): each for each in parameters}
    sent = dict(_sent(name, request))
    for place in sorted(sent.keys() - known.keys()):
        if place[0] != "header" or place[1] not in OF_ALL:
            yield f"{' '.join(place)} is not known"
    for place, parameter in known.items():
        is_repeated = target(callee.document, parameter["schema"]).get("type") == "array"
        value = [sent[place]] if place in sent and is_repeated else sent.get(place)
        if place in sent and not _fits(callee.document, parameter["schema"], value):
            yield f"{' '.join(place)} may not be {sent[place]!r}"
        if place not in sent and parameter.get("required"):
            yield f"{' '.join(place)} is missing"
    if operation.get("security") and "Authorization" not in request.headers:
        yield "there is no token"
    yield from _answerable(callee, operation, request)
    yield from _body(callee, operation, request)


def _sent(name: str, request: Any) -> Iterator[tuple[tuple[str, str], str]]:
    url, template = urlsplit(request.url), name.split(" ")[1]
    for word, value in zip(template.split("/"), url.path.split("/"), strict=True):
        if word.startswith("{"):
            yield ("path", word.strip("{}").lower()), value
    for word, value in parse_qsl(url.query, keep_blank_values=True):
        yield ("query", word.lower()), value
    for word, value in request.headers.items():
        yield ("header", word.lower()), value


def _answerable(callee: Callee, operation: Schema, request: Any) -> Iterator[str]:
    answers = [target(callee.document, answer) for status, answer in operation["responses"].items() if status[0] == "2"]
    offered = {media_type for answer in answers for media_type in answer.get("content", {})}
    if offered and request.headers["Accept"] not in offered:
        yield f"it is not answered as {request.headers['Accept']}"


def _body(callee: Callee, operation: Schema, request: Any) -> Iterator[str]:
    described = operation.get("requestBody")
    if request.body is None:
        if described and described.get("required"):
            yield "the body is missing"
        return
    content = (described or {}).get("content", {}).get(request.headers["Content-Type"])
    if content is None:
        yield f"{request.headers['Content-Type']} is not taken"
        return
    rules = closed({**content["schema"], "components": callee.document["components"]})
    for error in jsonschema.Draft202012Validator(rules).iter_errors(json.loads(request.body)):
        yield f"body{error.json_path[1:]}: {error.message}"


def closed(node: Any) -> Any:
    """The schema with additional members forbidden."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {word: closed(value) for word, value in node.items()}
    is_object = found.get("type") == "object" and "properties" in found
    return {"unevaluatedProperties": False, **found} if is_object else found


def _fits(found: Schema, schema: Schema, text: str) -> bool:
    """Whether a parameter's text matches its schema."""
    kind = target(found, schema).get("type")
    value: Any = int(text) if kind == "integer" and re.fullmatch("-?[0-9]+", text) else text
    rules = {**schema, "components": found["components"]}
    return jsonschema.Draft202012Validator(rules).is_valid(value)


def validated(found: Schema, schema: Schema, value: Any) -> None:
    rules = {**schema, "components": found["components"]}
    jsonschema.Draft202012Validator(rules).validate(value)


TEXTS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "uri": "http://x/y?cursor=c",
    "email": "a@example.com",
}


def sample(found: Schema, schema: Schema, *, whole: bool) -> Any:
    """A valid value for the schema: with ``whole`` all members, otherwise null or missing wherever allowed."""
    schema = target(found, schema)
    for word in ("allOf", "oneOf", "anyOf"):
        if schema.get(word):
            return sample(found, schema[word][0], whole=whole)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", ["object"])
    if not whole and "null" in kinds:
        return None
    return _MAKERS[kinds[0]](found, schema, whole)


def _object(found: Schema, schema: Schema, whole: bool) -> Schema:
    wanted = schema.get("properties", {}) if whole else schema.get("required", [])
    members = {name: sample(found, schema["properties"][name], whole=whole) for name in wanted}
    more = schema.get("additionalProperties")
    return {**members, "more": sample(found, more, whole=whole)} if whole and isinstance(more, dict) else members


def _array(found: Schema, schema: Schema, whole: bool) -> list[Any]:
    count = max(schema.get("minItems", 0), 1 if whole else 0)
    return [sample(found, schema["items"], whole=whole) for _ in range(count)]


def _string(found: Schema, schema: Schema, whole: bool) -> str:
    given = schema.get("examples") or [TEXTS.get(schema.get("format", ""), "text")]
    return str(given[0])


def _number(found: Schema, schema: Schema, whole: bool) -> Any:
    return max(schema.get("minimum", 1), 1) + (0.5 if schema["type"] != "integer" and whole else 0)


def _whole_number(found: Schema, schema: Schema, whole: bool) -> Any:
    return max(int(schema.get("minimum", 1)), 1)


_MAKERS: dict[str, Callable[[Schema, Schema, bool], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _whole_number,
    "boolean": lambda found, schema, whole: whole,
    "null": lambda found, schema, whole: None,
}

KINDS = {
    msgspec.inspect.StrType: {"string"},
    msgspec.inspect.IntType: {"integer"},
    msgspec.inspect.FloatType: {"number", "integer"},
    msgspec.inspect.DecimalType: {"number", "integer", "string"},
    msgspec.inspect.BoolType: {"boolean"},
    msgspec.inspect.DateTimeType: {"string"},
    msgspec.inspect.ListType: {"array"},
    msgspec.inspect.DictType: {"object"},
    msgspec.inspect.RawType: {"object"},  # the data of an event
    msgspec.inspect.StructType: {"object"},
}


def lacking(found: Schema, schema: Schema, shape: Any, where: str) -> Iterator[str]:
    """Yields what the type needs and the schema does not promise: members, their presence, their types."""
    schema = target(found, schema)
    shapes = shape.types if isinstance(shape, msgspec.inspect.UnionType) else (shape,)
    if any(isinstance(each, msgspec.inspect.AnyType) for each in shapes):
        return
    taken = set().union(*({"null"} if _is_none(each) else KINDS[type(each)] for each in shapes))
    given = schema.get("type", "anything")
    if others := ({given} if isinstance(given, str) else set(given)) - taken:
        yield f"{where} may be {', '.join(sorted(others))}"
    for each in shapes:
        if isinstance(each, msgspec.inspect.DateTimeType) and schema.get("format") != "date-time":
            yield f"{where} need not be a time"
        if isinstance(each, msgspec.inspect.ListType):
            yield from lacking(found, schema.get("items", {}), each.item_type, f"{where}[]")
        if isinstance(each, msgspec.inspect.StructType):
            yield from _lacking_members(found, schema, each, where)


def _is_none(shape: Any) -> bool:
    return isinstance(shape, msgspec.inspect.NoneType)


def _lacking_members(found: Schema, schema: Schema, shape: Any, where: str) -> Iterator[str]:
    for member in shape.fields:
        name = f"{where}.{member.encode_name}"
        if member.encode_name not in schema.get("properties", {}):
            yield f"{name} is not there"
            continue
        if member.required and member.encode_name not in schema.get("required", []):
            yield f"{name} may be missing"
        yield from lacking(found, schema["properties"][member.encode_name], member.type, name)
