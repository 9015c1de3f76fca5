"""Stands in for user-service: keys, access tokens of users, and tokens of services.

As `settings.ACCOUNTS`, this module replaces user-service in tests that do not test the fetch of keys.
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
    """The public keys of all services, in the format of SERVICE_KEYS."""
    return json.dumps({"keys": [key.as_dict(private=False) for key in SERVICE_KEYS.values()]})


def private_service_key(service: str) -> str:
    """A service's private key, in the format of SERVICE_KEY."""
    return json.dumps(SERVICE_KEYS[service].as_dict(private=True))


def user_claims(user_id: object = 1, *roles: str, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"iss": USER.name, "aud": AUDIENCE, "sub": str(user_id), "roles": list(roles), "sid": "s", "jti": "j"}
    return {**claims, "auth_time": now, "iat": now, "nbf": now, "exp": now + 900, **others}


def service_claims(caller: str, callee: str, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": caller, "sub": caller, "aud": callee, "iat": now, "nbf": now, "exp": now + 60, **others}


def user_token(user_id: object = 1, *roles: str, **others: Any) -> str:
    return signed(user_claims(user_id, *roles, **others))


def service_token(caller: str, callee: str, **others: Any) -> str:
    key = SERVICE_KEYS[caller]
    return signed(service_claims(caller, callee, **others), key, typ=SERVICE_TYPE)


def signed(claims: object, key: OKPKey = KEY, **header: Any) -> str:
    """A correctly signed token with any header and claims. Header members of None are omitted."""
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
    """Headers with an access token."""
    return bearer(user_token(user_id, *roles), **headers)


def as_service(caller: Service, callee: Service) -> dict[str, str]:
    """The headers of a call from one service to another."""
    return bearer(service_token(caller.name, callee.name))
