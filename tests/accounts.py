"""People and services for tests, with keys of their own: in the place of user-service, and of the keys' folder."""

import json
from typing import Any

from platform_core.auth.identity import Role
from platform_core.auth.keys import new_key
from platform_core.auth.tokens import AUDIENCE, SERVICE_TYPE, USER_SECONDS, USER_TYPE, sign
from platform_core.topology import SERVICES, USER, Service

USER_KEY = new_key("access")
SERVICE_KEYS = {service.name: new_key(service.name) for service in SERVICES}


def key_set() -> dict[str, Any]:
    return {"keys": [USER_KEY.as_dict(private=False)]}


def known_services() -> str:
    """SERVICE_KEYS, as a service is given it."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in SERVICE_KEYS.values()]})


def person(user_id: int, *roles: Role) -> dict[str, str]:
    """The headers of a user who is signed in."""
    claims = {"iss": USER.name, "aud": AUDIENCE, "sub": str(user_id), "roles": list(roles)}
    return {"Authorization": f"Bearer {sign(USER_KEY, USER_TYPE, claims, USER_SECONDS)}"}


def service(caller: Service, callee: Service) -> dict[str, str]:
    """The headers of one service that calls another."""
    claims = {"iss": caller.name, "sub": caller.name, "aud": callee.name}
    return {"Authorization": f"Bearer {sign(SERVICE_KEYS[caller.name], SERVICE_TYPE, claims, 60)}"}
