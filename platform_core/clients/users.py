"""Client of user-service."""

from typing import Any

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.clients.errors import PeerRefused
from platform_core.topology import USER

PEER = USER.name
SIGN_IN_ROUTE = "/api/auth/token"
"""The route of the sign-in."""
SESSION_ENDED = "session_ended"
"""The code of the 404 for a session that has ended."""


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


class StaffSignIn(StaffAccount, frozen=True, rename="camel"):
    """A staff account that has signed in. ``session`` is the id of the session that this has begun."""

    session: str = ""


class SessionEnded(Exception):
    """The session at user-service is signed out, expired or revoked."""


def get_user(user_id: int) -> User:
    """One user. Raises PeerRefused (404) if there is no such user, and PeerUnreachable."""
    return decoded(PEER, call(PEER, "GET", f"/api/users/{user_id}"), User)


def key_set() -> Any:
    """The JWK set of the keys with which access tokens are signed. Raises PeerRefused, PeerUnreachable."""
    return decoded(PEER, call(PEER, "GET", "/.well-known/jwks.json", timeout=2.0), dict[str, Any])


def sign_staff_in(email: str, password: str, address: str) -> StaffSignIn | None:
    """The account, with a new session; None if the password is wrong.

    Raises PeerRefused (422 `no_role`: a customer's account; 429), PeerUnreachable.
    """
    body = {"email": email, "password": password, "address": address}
    try:
        return decoded(PEER, call(PEER, "POST", "/api/auth/staff", body=body), StaffSignIn)
    except PeerRefused as refusal:
        if refusal.status == 401 and refusal.code == "invalid_credentials":
            return None
        raise


def staff_account(account_id: int, session: str = "") -> StaffAccount | None:
    """The current roles of an account, or None if it has lost all of them.

    With the id of a ``session``, raises SessionEnded if that is not a live session of the account. Further raises
    PeerRefused, PeerUnreachable.
    """
    path = _session_path(account_id, session) if session else f"/api/auth/staff/{account_id}"
    try:
        return decoded(PEER, call(PEER, "GET", path, timeout=1.0), StaffAccount)
    except PeerRefused as refusal:
        if refusal.status == 404 and refusal.code == SESSION_ENDED:
            raise SessionEnded from None
        if refusal.status == 404:
            return None
        raise


def end_staff_session(account_id: int, session: str) -> None:
    """End a session of an account; also if it has ended already. Raises PeerRefused, PeerUnreachable."""
    call(PEER, "DELETE", _session_path(account_id, session), timeout=1.0)


def _session_path(account_id: int, session: str) -> str:
    return f"/api/auth/staff/{account_id}/sessions/{session}"
