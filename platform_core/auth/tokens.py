"""Access tokens of people and of services: JWTs (RFC 7519) signed with Ed25519, verified without a call."""

import os
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from django.conf import settings
from django.utils.module_loading import import_string
from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
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
"""Which of the two a token is, its header says (RFC 8725, section 3.11); their keys are not the same ones anyway."""
USER_SECONDS = 900
SERVICE_SECONDS = 60
RENEWED_SECONDS = 30
"""How long a service shows the same token again."""
REMEMBERED = 1024
"""Tokens that a process remembers, of those it signed as of those it verified; then it begins anew."""
LEEWAY = 5
"""Seconds by which clocks may differ."""
KEYS_SECONDS = 2.0
"""How long the reading of user-service's keys may take."""


class BadToken(Exception):
    """The text says why, without a word of the token."""


class _Verified(NamedTuple):
    """A token that was good at ``since`` stays so ``until`` it expires (seconds of Unix time), or its key is gone."""

    identity: Identity
    kind: str
    key: OKPKey
    since: float
    until: float

    def is_good(self) -> bool:
        return self.since <= time.time() < self.until and _keys(self.kind).find(str(self.key.kid)) is self.key


# An Ed25519 signature and its JSON cost as much as all else that a small request is about.
_signed: dict[tuple[str, str], tuple[str, OKPKey, float]] = {}
_verified: dict[tuple[str, str], _Verified] = {}


def sign(key: OKPKey, kind: str, claims: dict[str, Any], seconds: int) -> str:
    """A token that is good for so many seconds from now."""
    now = int(time.time())
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": kind}
    return jwt.encode(header, {**claims, "iat": now, "nbf": now, "exp": now + seconds}, key, algorithms=[ALGORITHM])


def service_token(callee: str) -> str | None:
    """What this service shows ``callee``; None in development without keys."""
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
    """Whose the token is. Raises BadToken; what reading the keys raises, while none are known."""
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
        keys.append(_key(token.headers()))
        return keys[0]

    try:
        found = jwt.decode(token, key_of, algorithms=[ALGORITHM])
        kind = found.header["typ"]
        identity = _READERS[kind](found.claims, found.header["kid"])
        return _Verified(identity, kind, keys[0], since, found.claims["exp"] + LEEWAY)
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


def _key(header: dict[str, Any]) -> OKPKey:
    kid, kind = header.get("kid"), header.get("typ")
    if header.get("alg") != ALGORITHM or not isinstance(kid, str) or kind not in _READERS:
        raise BadToken("The token is of a kind that is not taken here.")
    key = _keys(kind).find(kid)
    if key is None:
        raise BadToken("The token is signed with a key that is not known.")
    return key


def _user(claims: dict[str, Any], kid: str) -> Identity:
    _check(claims, iss=USER.name, aud=AUDIENCE)
    subject = claims["sub"]
    if not (subject.isascii() and subject.isdigit() and int(subject) <= MAX_ID):
        raise BadToken("The token names no user.")
    return Identity(Kind.USER, subject, known_roles(claims.get("roles")), session=str(claims.get("sid", "")))


def _service(claims: dict[str, Any], kid: str) -> Identity:
    issuer = owner_of(kid)
    _check(claims, iss=issuer, sub=issuer, aud=settings.SERVICE.name)
    if issuer not in BY_NAME:
        raise BadToken("The token names no service.")
    return Identity(Kind.SERVICE, issuer, on_behalf_of=str(claims.get("on_behalf_of", ""))[:20])


def _check(claims: dict[str, Any], **expected: str) -> None:
    """Raises JoseError."""
    essential: dict[str, Any] = {name: {"essential": True} for name in ("exp", "iat", "nbf", "sub")}
    essential |= {name: {"essential": True, "value": value} for name, value in expected.items()}
    jwt.JWTClaimsRegistry(leeway=LEEWAY, **essential).validate(claims)


_READERS: dict[str, Callable[[dict[str, Any], str], Identity]] = {USER_TYPE: _user, SERVICE_TYPE: _service}


def user_keys() -> KeySet:
    """The keys with which user-service signs, of this process."""
    return _user_keys(os.getpid())


@cache
def _user_keys(process: int) -> KeySet:
    return KeySet(_read_user_keys)


def _read_user_keys() -> Keys:
    """In time of its own: a request that asks for an answer at once would spoil the reading for all others."""
    with context.grace(KEYS_SECONDS):
        key_set = import_string(f"{settings.ACCOUNTS}.key_set")()
    try:
        return public_keys(key_set)
    except ValueError as error:
        raise PeerFailed(USER.name, f"gave no keys: {error}", 200) from None


def forget() -> None:
    """For tests: as if no key had been read and no token seen yet."""
    _user_keys.cache_clear()
    _signed.clear()
    _verified.clear()
