"""Access tokens of people and of services: JWTs (RFC 7519) signed with Ed25519, verified without a call."""

import os
import time
from collections.abc import Callable, Container
from functools import cache
from typing import Any, NamedTuple

from django.conf import settings
from django.utils.module_loading import import_string
from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwk import OKPKey

from platform_core.auth.identity import Identity, Kind, known_roles
from platform_core.auth.jwks_cache import Keys, KeySet, public_keys
from platform_core.auth.keys import own_key, owner_of, service_keys
from platform_core.clients.errors import PeerFailed
from platform_core.http import context
from platform_core.topology import BY_NAME, USER
from platform_core.vocabulary import MAX_ID

ALGORITHM = "Ed25519"
AUDIENCE = "platform"
USER_TYPE = "at+jwt"
SERVICE_TYPE = "service+jwt"
TICKET_TYPE = "ticket+jwt"
"""The ``typ`` header separates the kinds of tokens (RFC 8725, section 3.11). Those of services have keys of their own.
A ticket (`platform_core.auth.tickets`) has the keys of people's tokens.
"""
USER_SECONDS = 900
SERVICE_SECONDS = 60
RENEWED_SECONDS = 30
_LONGEST_SERVICE_SECONDS = 120
"""Seconds for which a service reuses its own token."""
REMEMBERED = 1024
"""Size of the caches of signed and of verified tokens. A full cache is emptied."""
SKEW = 120
"""Seconds by which the clock of the signing machine may be ahead, and for services' tokens also behind."""
LEEWAY = 5
"""Seconds for which a person's token is accepted after its end. Few, so that it hardly outlives the sign-in."""
_GRACE = {USER_TYPE: LEEWAY, SERVICE_TYPE: SKEW}
KEYS_SECONDS = 2.0
"""Timeout in seconds for reading user-service's keys."""


class BadToken(Exception):
    """The token is refused. The message gives the reason and contains nothing of the token."""


class _Verified(NamedTuple):
    """A verified token. Valid from ``since`` ``until`` it expires (Unix time), unless its key is removed."""

    identity: Identity
    kind: str
    key: OKPKey
    since: float
    until: float

    def is_good(self) -> bool:
        return self.since <= time.time() < self.until and _keys(self.kind).find(str(self.key.kid)) is self.key


# Cached, because verifying a signature costs as much as the rest of a small request.
_signed: dict[tuple[str, str], tuple[str, OKPKey, float]] = {}
_verified: dict[tuple[str, str], _Verified] = {}


def sign(key: OKPKey, kind: str, claims: dict[str, Any], seconds: int) -> str:
    """A signed JWT that is valid for ``seconds`` from now."""
    now = int(time.time())
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": kind}
    return jwt.encode(header, {**claims, "iat": now, "nbf": now, "exp": now + seconds}, key, algorithms=[ALGORITHM])


def service_token(callee: str) -> str | None:
    """The token that this service sends to ``callee``; None in development without keys."""
    key = own_key()
    if key is None:
        return None
    name, user, now = settings.SERVICE.name, context.current().user, time.time()
    token, by, since = _signed.get((callee, user), ("", None, 0.0))
    if by is not key or not since <= now < since + RENEWED_SECONDS:
        claims = {"iss": name, "sub": name, "aud": callee, **({"on_behalf_of": user} if user else {})}
        token = sign(key, SERVICE_TYPE, claims, SERVICE_SECONDS)
        _remember(_signed, (callee, user), (token, key, now))
    return token


def identify(token: str) -> Identity:
    """The caller that the token identifies. Raises BadToken, or the error of loading the keys if none are known yet."""
    place = settings.SERVICE.name, token
    known = _verified.get(place)
    if known is None or not known.is_good():
        known = _verify(token)
        _remember(_verified, place, known)
    return known.identity


def _verify(token: str) -> _Verified:
    since = time.time()
    keys: list[OKPKey] = []

    def key_of(token: Any) -> OKPKey:
        keys.append(_key(token.headers(), _READERS))
        return keys[0]

    try:
        found = jwt.decode(token, key_of, algorithms=[ALGORITHM])
        kind = found.header["typ"]
        identity = _READERS[kind](found.claims, found.header["kid"])
        if found.claims["exp"] <= since - _GRACE[kind]:
            raise ExpiredTokenError("exp")
        return _Verified(identity, kind, keys[0], since, found.claims["exp"] + _GRACE[kind])
    except BadToken:
        raise
    except ClaimError as error:
        raise BadToken(error.description) from None
    except JoseError:
        raise BadToken("The token is not valid.") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadToken("The token is malformed.") from None


def _remember(what: dict[Any, Any], place: object, value: object) -> None:
    if len(what) >= REMEMBERED:
        what.clear()
    what[place] = value


def _keys(kind: str) -> KeySet:
    return service_keys() if kind == SERVICE_TYPE else user_keys()


def ticket_claims(token: str) -> dict[str, Any]:
    """The claims of a ticket that user-service has signed for this service, and that has not expired.

    Raises BadToken, or the error of loading the keys if none are known yet.
    """
    try:
        found = jwt.decode(token, lambda token: _key(token.headers(), (TICKET_TYPE,)), algorithms=[ALGORITHM])
        _check(found.claims, iss=USER.name, aud=settings.SERVICE.name)
        if found.claims["exp"] <= time.time() - LEEWAY:
            raise ExpiredTokenError("exp")
        return found.claims
    except ExpiredTokenError:
        raise BadToken("It has expired.") from None
    except ClaimError as error:
        raise BadToken(error.description) from None
    except JoseError:
        raise BadToken("It is not valid.") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadToken("It is malformed.") from None


def _key(header: dict[str, Any], kinds: Container[str]) -> OKPKey:
    """The key of a token with this header, whose type is one of ``kinds``. Raises BadToken."""
    kid, kind = header.get("kid"), header.get("typ")
    if header.get("alg") != ALGORITHM or not isinstance(kid, str) or not isinstance(kind, str) or kind not in kinds:
        raise BadToken("Tokens of this kind are not accepted here.")
    key = _keys(kind).find(kid)
    if key is None:
        raise BadToken("The token is signed with an unknown key.")
    return key


def _user(claims: dict[str, Any], kid: str) -> Identity:
    _check(claims, iss=USER.name, aud=AUDIENCE)
    subject = claims["sub"]
    if not (subject.isascii() and subject.isdigit() and int(subject) <= MAX_ID):
        raise BadToken("The token names no user.")
    roles, session, auth_time = known_roles(claims.get("roles")), str(claims.get("sid", "")), claims.get("auth_time")
    return Identity(
        Kind.USER, subject, roles, session, auth_time=auth_time if isinstance(auth_time, int) and auth_time > 0 else 0
    )


def _service(claims: dict[str, Any], kid: str) -> Identity:
    issuer = owner_of(kid)
    _check(claims, iss=issuer, sub=issuer, aud=settings.SERVICE.name)
    if claims["exp"] - claims["iat"] > _LONGEST_SERVICE_SECONDS:
        raise BadToken("The token of a service is valid for too long.")
    if issuer not in BY_NAME:
        raise BadToken("The token names no service.")
    return Identity(Kind.SERVICE, issuer, on_behalf_of=str(claims.get("on_behalf_of", ""))[:20])


def _check(claims: dict[str, Any], **expected: str) -> None:
    """Raises JoseError."""
    essential: dict[str, Any] = {name: {"essential": True} for name in ("exp", "iat", "nbf", "sub")}
    essential |= {name: {"essential": True, "value": value} for name, value in expected.items()}
    jwt.JWTClaimsRegistry(leeway=SKEW, **essential).validate(claims)


_READERS: dict[str, Callable[[dict[str, Any], str], Identity]] = {USER_TYPE: _user, SERVICE_TYPE: _service}


def user_keys() -> KeySet:
    """The public keys of user-service. One cache per process."""
    return _user_keys(os.getpid())


@cache
def _user_keys(process: int) -> KeySet:
    return KeySet(_read_user_keys)


def _read_user_keys() -> Keys:
    """Has its own deadline: a request with a very short deadline would make the load fail for all others."""
    with context.grace(KEYS_SECONDS):
        key_set = import_string(f"{settings.ACCOUNTS}.key_set")()
    try:
        return public_keys(key_set)
    except ValueError as error:
        raise PeerFailed(USER.name, f"gave no keys: {error}", 200) from None


def forget() -> None:
    """Empty all caches. For tests."""
    _user_keys.cache_clear()
    _signed.clear()
    _verified.clear()
