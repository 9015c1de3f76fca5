"""The stored answers of requests with an Idempotency-Key, as operators may see them."""

from typing import Any

import msgspec

HIDDEN = "(hidden)"
PERSONAL = frozenset(
    {
        *("address", "customer", "data", "email", "lastError", "message", "name", "password", "pendingEmail", "phone"),
        *("recipient", "secret", "subject", "token", "url"),
    }
)
"""Members that are not shown: personal data and secrets. The resource itself has them, for those who may see it."""


def shown_answer(body: bytes) -> str:
    """The answer as indented JSON, with `HIDDEN` for personal data, secrets, and what is not JSON."""
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return HIDDEN
    return msgspec.json.format(msgspec.json.encode(_masked(answer)), indent=2).decode()


def _masked(value: Any) -> Any:
    match value:
        case dict():
            return {name: HIDDEN if name in PERSONAL and each else _masked(each) for name, each in value.items()}
        case list():
            return [_masked(each) for each in value]
        case _:
            return value
