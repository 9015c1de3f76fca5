"""The keys that sign access tokens. They are stored encrypted in the database, so that all processes share them."""

import json
import secrets
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils.timezone import now
from joserfc.jwk import OKPKey

from platform_core.auth import (
    LEEWAY,
    TICKET_SECONDS,
    TICKET_TYPE,
    USER_SECONDS,
    USER_TYPE,
    BrokenSeal,
    private_key,
    seal,
    sign,
    unseal,
)
from user_svc.models import SigningKey

_LOCK = 7_202_611_24
_PURPOSE = "signing keys"
_LIFE = timedelta(seconds=USER_SECONDS + 2 * LEEWAY)


def access_token(claims: dict[str, Any]) -> str:
    return sign(_present() or _first(), USER_TYPE, claims, USER_SECONDS)


def ticket(claims: dict[str, Any]) -> str:
    """A ticket with which one service signs a person on (`platform_core.auth.tickets`)."""
    return sign(_present() or _first(), TICKET_TYPE, claims, TICKET_SECONDS)


def key_set() -> dict[str, Any]:
    """The JWK set (RFC 7517): the present key, and retired keys until the last token that they signed expires."""
    good = SigningKey.objects.filter(Q(retired_at=None) | Q(retired_at__gt=now() - _LIFE)).order_by("-created_at")
    return {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "use": "sig", "kid": key.kid, "x": key.x} for key in good
        ]
    }


def rotate(*, revoke: bool = False) -> str:
    """Creates a new signing key and returns its id. With ``revoke``, tokens signed by older keys become invalid.

    Other services cache the key set for at most five minutes, so they may accept such tokens until then.
    """
    with transaction.atomic():
        _lock()
        gone = Q() if revoke else Q(retired_at__lt=now() - _LIFE)
        SigningKey.objects.filter(gone).delete()
        return _next().kid or ""


def _first() -> OKPKey:
    """Creates the first key, or a new one after SECRET_KEY changed. Retires keys that can no longer be decrypted."""
    with transaction.atomic():
        _lock()
        return _present() or _next()


def _next() -> OKPKey:
    SigningKey.objects.filter(retired_at=None).update(retired_at=now())
    return _make()


def _present() -> OKPKey | None:
    newest = SigningKey.objects.filter(retired_at=None).order_by("-created_at").first()
    if newest is None:
        return None
    try:
        return private_key(json.loads(unseal(_PURPOSE, bytes(newest.sealed).decode())))
    except BrokenSeal:
        return None


def _make() -> OKPKey:
    key = OKPKey.generate_key("Ed25519", {"kid": f"access.{secrets.token_hex(8)}"})
    parts: dict[str, Any] = key.as_dict(private=True)
    sealed = seal(_PURPOSE, json.dumps(parts)).encode()
    SigningKey.objects.create(kid=parts["kid"], x=parts["x"], sealed=sealed)
    return key


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
