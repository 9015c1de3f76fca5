"""user-service, as its peers see it."""

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.topology import USER

PEER = USER.name


class User(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    name: str
    email: str


def get_user(user_id: int) -> User:
    """Raises PeerRefused (404) when there is no such user, PeerUnreachable."""
    return decoded(PEER, call(PEER, "GET", f"/api/users/{user_id}"), User)
