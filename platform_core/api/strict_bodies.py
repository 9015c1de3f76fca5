"""Bodies are strict: members that an operation does not know, and members that are given twice, are errors."""

import difflib
import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rest_framework.exceptions import ErrorDetail, ParseError
from rest_framework.request import Request

from platform_core.auth.access import caller_of
from platform_core.auth.identity import Kind
from platform_core.http.errors import FieldError, InvalidInput
from platform_core.http.middleware import readable
from platform_core.observability import metrics

log = logging.getLogger("platform.body")
UNKNOWN = "unknown_field"
REPEATED = "repeated"
FORM_MEMBERS = frozenset(("csrfmiddlewaretoken",))
"""What a browser's form carries beside its fields."""
_MOST = 20
"""How many members one answer names."""
_LONGEST = 100
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_TWICE = "Given more than once in one object."


def unknown_members(serializer: Any, data: Mapping[str, Any]) -> dict[str, list[ErrorDetail]]:
    """An error for each member of ``data`` that the serializer refuses, by name.

    Members that the serializer answers but cannot write are ignored, except in a POST: nothing with these values exists
    yet. From a service all unknown members are ignored and counted, so that a newer caller can use an older service.
    """
    fields = serializer.fields
    unknown = [name for name in _names(data) if name not in fields]
    request = serializer.context.get("request")
    if request is not None and request.method == "POST":
        unknown += [name for name in _names(data) if name in fields and fields[name].read_only]
    if not unknown:
        return {}
    if request is not None and _is_service(request):
        _ignore(request, unknown)
        return {}
    writable = [name for name, field in fields.items() if not field.read_only]
    return {name[:_LONGEST]: [_unknown(name, writable, is_read_only=name in fields)] for name in unknown[:_MOST]}


def refuse_members(request: Request) -> None:
    """For an operation without a body: an empty body or object is fine. Raises InvalidInput for anything else."""
    data = request.data
    refuse_repeated(request)
    if not isinstance(data, Mapping):
        if data is not None:
            raise InvalidInput.field("body", "This operation takes no body.")
        return
    unknown = list(_names(data))
    if unknown and _is_service(request):
        _ignore(request, unknown)
    elif unknown:
        errors = [_error(name, UNKNOWN, "This operation takes no members.") for name in unknown[:_MOST]]
        raise InvalidInput(f"{errors[0]['field']}: {errors[0]['detail']}", errors=errors)


def refuse_repeated(request: Request) -> None:
    """Refuse a parsed body with repeated members, if `judge_repeated` has deferred that. Raises InvalidInput."""
    error = getattr(request, "repeated_members", None)
    if error is not None:
        raise error


def judge_repeated(body: bytes, data: Any, context: Mapping[str, Any]) -> None:
    """Refuse a JSON text in which an object has a member twice. Raises InvalidInput.

    ``context`` is that of DRF's parsers. With an Idempotency-Key the refusal waits until the key has been looked up,
    because a body that was accepted before this rule gets its first answer again. `refuse_repeated` raises it then.
    """
    # A parser keeps the last of two equal names, so the text has more colons than the data has members.
    if _STRING.sub(b"", body).count(b":") == _count(data):
        return
    errors = [_error(path, REPEATED, _TWICE) for path in list(_repeated(_read(body)))[:_MOST]]
    error = InvalidInput(f"{errors[0]['field']}: {_TWICE}", errors=errors)
    request = context.get("request")
    if request is None or "HTTP_IDEMPOTENCY_KEY" not in request.META or not _looks_up_keys(context.get("view")):
        raise error
    request.repeated_members = error


def _looks_up_keys(view: Any) -> bool:
    handler = getattr(view, getattr(view, "action", None) or "", None)
    return getattr(handler, "takes_key", False)  # set by `idempotency.takes_key`


def _names(data: Mapping[str, Any]) -> Iterable[str]:
    """The members of an object. A form names nested ones ``items[0]quantity``; their own serializers look at them."""
    if not hasattr(data, "getlist"):
        return data
    return dict.fromkeys(re.split(r"[.\[]", name, maxsplit=1)[0] for name in data if name not in FORM_MEMBERS)


def _unknown(name: str, known: Sequence[str], *, is_read_only: bool) -> ErrorDetail:
    if is_read_only:
        return ErrorDetail("The service sets this member; it cannot be sent here.", code=UNKNOWN)
    return ErrorDetail(f"There is no member {name[:_LONGEST]!r}. {_hint(name, known)}", code=UNKNOWN)


def _hint(name: str, known: Sequence[str]) -> str:
    by_form = {each.lower(): each for each in known}
    nearest = difflib.get_close_matches(name[:_LONGEST].lower(), by_form, n=1)
    if nearest:
        return f"Did you mean {by_form[nearest[0]]!r}?"
    return f"Known are: {', '.join(known)}." if known else "The operation takes none."


def _error(path: str, code: str, detail: str) -> FieldError:
    return {"field": path[:_LONGEST], "code": code, "detail": detail}


def _is_service(request: Request) -> bool:
    return caller_of(request).kind is Kind.SERVICE


def _ignore(request: Request, names: Collection[str]) -> None:
    match = request.resolver_match
    route = readable(match.route) if match else "unknown"
    metrics.ignored_members.labels(route).inc(len(names))
    data = {"route": route, "caller": caller_of(request).caller, "members": [n[:_LONGEST] for n in names][:_MOST]}
    log.warning("body.members_ignored", extra={"data": data})


def _count(data: Any) -> int:
    """The number of members of all objects in ``data``. Not recursive, because the data may be nested deeply."""
    count, rest = 0, [data]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            count += len(value)
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return count


class _Object(dict[str, Any]):
    """An object of a JSON text that knows its repeated names."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        found.repeated = tuple(name for name in found if names.count(name) > 1)
    return found


def _read(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object, parse_int=str, parse_float=str)
    except RecursionError:
        raise ParseError("The body is nested too deeply.") from None


def _repeated(data: Any) -> Iterator[str]:
    """The paths of the repeated members, such as ``items[0].quantity``."""
    rest = [("", data)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, _Object):
            paths = {name: f"{path}.{name}" if path else name for name in value}
            yield from (paths[name] for name in value.repeated)
            rest += [(paths[name], member) for name, member in value.items()]
        elif isinstance(value, list):
            rest += [(f"{path}[{index}]", item) for index, item in enumerate(value)]
