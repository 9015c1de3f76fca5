"""Who moves stock. A movement stores the caller as a text such as ``user:7``, without the name."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from django.contrib.auth.models import User

from platform_core.auth import NOBODY, shadow_name, staff_identity
from platform_core.http import context

COMMAND = "command"
"""The actor of `manage.py` commands, which have no caller."""


def actor() -> str:
    """The caller of the present request, as `StockMovement` stores it."""
    present = context.current()
    return present.caller or (COMMAND if present.request_id == context.NO_REQUEST_ID else NOBODY.caller)


@contextmanager
def acting(user: Any) -> Iterator[None]:
    """Make the user who is signed in to the admin the actor inside the block."""
    caller = staff_identity(user)
    with context.entered(replace(context.current(), caller=caller.caller, user=caller.for_user)):
        yield


def names_of(actors: Iterable[str]) -> dict[str, str]:
    """A text to show for each actor, in one query. Staff are shown by name, unless their data was erased."""
    wanted = {each for each in actors if each}
    users = {shadow_name(each.removeprefix("user:")): each for each in wanted if each.startswith("user:")}
    shadows = User.objects.filter(username__in=users) if users else ()
    known = {users[shadow.username]: shadow.first_name or shadow.email for shadow in shadows}
    return {each: known.get(each) or _plain(each) for each in wanted}


def user_id_of(actor: str) -> str:
    """The id of the account, or an empty text if the actor is not a person with an account."""
    return actor.removeprefix("user:") if actor.startswith("user:") else ""


def _plain(actor: str) -> str:
    kind, _, subject = actor.partition(":")
    return {"service": subject, "local": subject, COMMAND: "manage.py"}.get(kind) or f"{kind} {subject}".strip()
