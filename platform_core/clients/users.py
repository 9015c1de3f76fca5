"""Client of user-service."""

from typing import Any

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.clients.errors import PeerRefused
from platform_core.topology import USER

PEER = USER.name
SIGN_IN_ROUTE = "/api/auth/token"
"""The route of the sign-in."""


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A user, as other services need it."""

    id: str
    name: str
    email: str
    address: str = ""
    is_active: bool = True
    email_verified: bool = True


class StaffAccount(msgspec.Struct, frozen=True, rename="camel"):
    """A staff account with its roles. ``stamp`` changes with each change of the password."""

    id: str
    name: str
    email: str
    roles: list[str]
    stamp: str = ""


def get_user(user_id: int) -> User:
    """One user. Raises PeerRefused (404) if there is no such user, and PeerUnreachable."""
    return decoded(PEER, call(PEER, "GET", f"/api/users/{user_id}"), User)


def key_set() -> Any:
    """The JWK set of the keys with which access tokens are signed. Raises PeerRefused, PeerUnreachable."""
    return decoded(PEER, call(PEER, "GET", "/.well-known/jwks.json", timeout=2.0), dict[str, Any])


def sign_staff_in(email: str, password: str, address: str) -> StaffAccount | None:
    """The account; None if the password is wrong or it has no role. Raises PeerRefused (429), PeerUnreachable."""
    body = {"email": email, "password": password, "address": address}
    try:
        return decoded(PEER, call(PEER, "POST", "/api/auth/staff", body=body), StaffAccount)
    except PeerRefused as refusal:
        if refusal.status == 401 and refusal.code == "invalid_credentials":
            return None
        raise


def staff_account(account_id: int) -> StaffAccount | None:
    """The current roles of an account, or None if it has lost all of them. Raises PeerRefused, PeerUnreachable."""
    try:
        return decoded(PEER, call(PEER, "GET", f"/api/auth/staff/{account_id}", timeout=1.0), StaffAccount)
    except PeerRefused as refusal:
        if refusal.status == 404:
            return None
        raise
