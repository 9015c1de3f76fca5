"""Who calls: nobody, a person, a service, or a local account of one admin."""

from dataclasses import dataclass
from enum import StrEnum

from platform_core.vocabulary import Role


class Kind(StrEnum):
    NOBODY = "anonymous"
    USER = "user"
    SERVICE = "service"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Identity:
    """``subject`` is a user's id, a service's name, or the name of a local account.

    ``session`` names the sign-in that a person's token comes from; ``on_behalf_of`` is the id of the user for whom a
    service calls.
    """

    kind: Kind = Kind.NOBODY
    subject: str = ""
    roles: frozenset[Role] = frozenset()
    session: str = ""
    on_behalf_of: str = ""

    is_authenticated = True
    is_active = True

    @property
    def caller(self) -> str:
        """The same for every request of the same caller, and no other's: keys and logs go by it."""
        return f"{self.kind}:{self.subject}" if self.subject else str(self.kind)

    @property
    def user_id(self) -> int | None:
        return int(self.subject) if self.kind is Kind.USER else None

    @property
    def for_user(self) -> str:
        """The id of the user whose wish this is, if there is one."""
        return self.subject if self.kind is Kind.USER else self.on_behalf_of

    def __str__(self) -> str:
        return self.caller


NOBODY = Identity()


def known_roles(names: object) -> frozenset[Role]:
    """The roles among ``names``; what a later version may bring is passed over."""
    return frozenset(role for role in Role if isinstance(names, list | tuple | set | frozenset) and role in names)
