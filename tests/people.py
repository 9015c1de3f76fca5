"""What user-service is to the others: keys for access tokens, tokens of people, and the services' own.

As `settings.ACCOUNTS` this module stands in for user-service where a test does not care how its keys come.
"""

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

from joserfc.jwk import OKPKey

from platform_core.auth.keys import new_key
from platform_core.auth.tokens import AUDIENCE, SERVICE_TYPE, USER_TYPE
from platform_core.topology import SERVICES, USER, Service

KEY = OKPKey.generate_key("Ed25519", {"kid": "access.tests"})
SERVICE_KEYS = {service.name: new_key(service.name) for service in SERVICES}


def key_set() -> dict[str, Any]:
    return {"keys": [KEY.as_dict(private=False)]}


def public_service_keys() -> str:
    """Everybody's public keys, as SERVICE_KEYS takes them."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in SERVICE_KEYS.values()]})


def private_service_key(service: str) -> str:
    """A service's own key, as SERVICE_KEY takes it."""
    return json.dumps(SERVICE_KEYS[service].as_dict(private=True))


def user_claims(user_id: object = 1, *roles: str, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": USER.name, "aud": AUDIENCE, "sub": str(user_id), "roles": list(roles), "sid": "s", "jti": "j"}
    return {**claims, "iat": now, "nbf": now, "exp": now + 900, **others}


def service_claims(caller: str, callee: str, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": caller, "sub": caller, "aud": callee, "iat": now, "nbf": now, "exp": now + 60, **others}


def user_token(user_id: object = 1, *roles: str, **others: Any) -> str:
    return signed(user_claims(user_id, *roles, **others))


def service_token(caller: str, callee: str, **others: Any) -> str:
    key = SERVICE_KEYS[caller]
    return signed(service_claims(caller, callee, **others), key, typ=SERVICE_TYPE)


def signed(claims: object, key: OKPKey = KEY, **header: Any) -> str:
    """A token with whatever header and claims, properly signed. A header of None is left out."""
    whole = {"alg": "Ed25519", "kid": key.kid, "typ": USER_TYPE, **header}
    return sealed(json.dumps({k: v for k, v in whole.items() if v is not None}), json.dumps(claims), key)


def sealed(header: str | bytes, payload: str | bytes, key: OKPKey = KEY) -> str:
    message = f"{encoded(header)}.{encoded(payload)}"
    signature = key.get_op_key("sign").sign(message.encode())  # type: ignore[union-attr]
    return f"{message}.{encoded(signature)}"


def encoded(part: str | bytes) -> str:
    raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def bearer(token: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **headers}


def as_user(user_id: object = 1, *roles: str, **headers: str) -> dict[str, str]:
    """The headers of somebody who is signed in."""
    return bearer(user_token(user_id, *roles), **headers)


def as_service(caller: Service, callee: Service) -> dict[str, str]:
    """The headers of one service that calls another."""
    return bearer(service_token(caller.name, callee.name))
