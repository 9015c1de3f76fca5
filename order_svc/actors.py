"""Who causes an order's changes of status: a caller such as ``user:7``, or a part of the system.

Names of people are not stored. `text_of` finds words for the stored form when a page is shown.
"""

from collections.abc import Mapping

from platform_core.auth import Kind
from platform_core.http import context

SYSTEM = "system"
PLACING = f"{SYSTEM}:placing"
"""The saga, which confirms an order or rejects it by a rule."""
TIMEOUT = f"{SYSTEM}:timeout"
"""The saga, which gives up because a service did not answer."""
RECOVERING = f"{SYSTEM}:recovery"
"""The duty that rejects orders that were left pending."""
DEMO = "demo"
"""The caller of the orders that `manage.py demo` makes."""
RESERVING = f"{SYSTEM}:reserving"
"""The repair that reserves the stock of a confirmed order again, and cancels the order if that is refused."""
_PARTS = {
    PLACING: "the system, while the order was placed",
    TIMEOUT: "the system, because a service did not answer in time",
    RECOVERING: "the system's recovery",
    RESERVING: "the system, because its stock could not be reserved again",
    DEMO: "the demo",
}


def acting() -> str:
    """The caller of the current request or job; ``anonymous`` if there is none."""
    return context.current().caller or str(Kind.NOBODY)


def staff_ids(actors: list[str], customer: int) -> list[int]:
    """The ids of the people among ``actors`` who are not the customer, each once."""
    ids = [int(subject) for kind, _, subject in (actor.partition(":") for actor in actors) if _is_id(kind, subject)]
    return [each for each in dict.fromkeys(ids) if each != customer]


def _is_id(kind: str, subject: str) -> bool:
    return kind == Kind.USER and subject.isascii() and subject.isdigit()


def text_of(actor: str, customer: int, names: Mapping[int, str]) -> str:
    """Words for an actor: "the customer", a name of the staff, "staff 7" without a known name, or what it is.

    ``customer`` is the id of the order's user, ``names`` has the known names of people.
    """
    kind, _, subject = actor.partition(":")
    if _is_id(kind, subject):
        person = int(subject)
        return "the customer" if person == customer else names.get(person) or f"staff {person}"
    if kind == SYSTEM or actor in _PARTS:
        return _PARTS.get(actor, f"the system ({subject})")
    if kind == Kind.LOCAL:
        return f"{subject} (a local account)"
    return subject if kind == Kind.SERVICE else "somebody who was not signed in"
