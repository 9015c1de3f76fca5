"""Who looks at a page, and what they may use."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import Error
from rest_framework.exceptions import APIException

from platform_core.auth import staff
from platform_core.auth.access import is_open
from platform_core.auth.identity import NOBODY, Identity, Kind
from platform_core.auth.rules import has_pages_in
from platform_core.clients.errors import PeerError
from platform_core.http.errors import PlatformError
from platform_core.topology import SERVICES, Service
from platform_core.vocabulary import Role


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person in front of a page. ``name`` is empty for anonymous ones.

    ``has_session``: they are signed in to this service's admin, so that they can sign out.
    """

    identity: Identity = NOBODY
    name: str = ""
    has_session: bool = False

    @property
    def roles(self) -> frozenset[Role]:
        """Their roles. In development, anonymous callers may do everything."""
        return frozenset(Role) if self.identity is NOBODY and is_open() else self.identity.roles

    @property
    def is_local(self) -> bool:
        """Whether the account belongs to this service alone."""
        return self.identity.kind is Kind.LOCAL

    @property
    def services(self) -> list[Service]:
        """The services whose admin they may use. A local account knows this one only."""
        if self.is_local:
            return [settings.SERVICE]
        return [service for service in SERVICES if has_pages_in(service, self.roles)]


def viewer_of(request: Any) -> Viewer:
    """The viewer of a page, by the request of Django or of DRF. Anonymous if that cannot be found out now."""
    try:
        user = getattr(request, "user", None)
        if isinstance(user, Identity):
            return Viewer(user, user.caller)
        if isinstance(user, AbstractBaseUser) and getattr(user, "is_staff", False):
            name = user.get_full_name() or getattr(user, "email", "") or user.get_username()  # type: ignore[attr-defined]
            return Viewer(staff.identity(user), name, has_session=True)
        if getattr(user, "is_authenticated", False) and not isinstance(user, AbstractBaseUser):
            return Viewer(name=str(user))  # of another authenticator
    except (Error, PlatformError, PeerError, APIException, OSError):
        pass  # a page with an error must not fail because the database does not answer
    return Viewer()
