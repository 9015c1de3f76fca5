"""The identity of a caller: anonymous, a person, a service, or a local account of one admin."""

from dataclasses import dataclass
from enum import StrEnum

from platform_core.vocabulary import Role


class Kind(StrEnum):
    """The kinds of callers."""

    NOBODY = "anonymous"
    USER = "user"
    SERVICE = "service"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Identity:
    """``subject`` is a user's id, a service's name, or the name of a local account.

    ``session`` names the sign-in that a person's token comes from, and ``auth_time`` is its Unix time (0 if the token
    does not have it); ``on_behalf_of`` is the id of the user for whom a service calls.
    """

    kind: Kind = Kind.NOBODY
    subject: str = ""
    roles: frozenset[Role] = frozenset()
    session: str = ""
    on_behalf_of: str = ""
    auth_time: int = 0

    is_authenticated = True
    is_active = True

    @property
    def caller(self) -> str:
        """A text that identifies the caller, such as ``user:7``. Idempotency keys and logs use it."""
        return f"{self.kind}:{self.subject}" if self.subject else str(self.kind)

    @property
    def user_id(self) -> int | None:
        """The id of a person's account; None for all other callers."""
        return int(self.subject) if self.kind is Kind.USER else None

    @property
    def for_user(self) -> str:
        """The id of the user on whose behalf the request is made; empty if there is none."""
        return self.subject if self.kind is Kind.USER else self.on_behalf_of

    def __str__(self) -> str:
        return self.caller


NOBODY = Identity()


def known_roles(names: object) -> frozenset[Role]:
    """The roles among ``names``. Unknown names, which a later version may have added, are ignored."""
    return frozenset(role for role in Role if isinstance(names, list | tuple | set | frozenset) and role in names)
