"""The services' keys: each service signs with its private key and knows the public keys of all services.

KEYS_DIR has a folder for each service, with ``order-service/private.json`` and ``order-service/public.json``. The
variables SERVICE_KEY and SERVICE_KEYS can be used instead. Both are JWKs (RFC 7517); a key's id begins with the name
of its owner.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from joserfc.jwk import OKPKey

from platform_core.auth.jwks_cache import Keys, KeySet, public_keys
from platform_core.topology import SERVICES, Service

PRIVATE = "private.json"
PUBLIC = "public.json"
KEPT = 2
"""Number of public keys kept for each service: the current and the previous one, so that restarts can be rolling."""


class KeysError(Exception):
    """Keys are missing or damaged. The message names them and says what to do."""


def owner_of(kid: str) -> str:
    """The service that a key id belongs to."""
    return kid.partition(".")[0]


def own_key() -> OKPKey | None:
    """This service's private key, or None if none is configured. Raises KeysError if it is not a key."""
    return _own_key(settings.SERVICE_KEY, _file(PRIVATE))


def service_keys() -> KeySet:
    """The public keys of all services. One cache per process; it reads the files again for an unknown key id."""
    return _service_keys(os.getpid(), settings.SERVICE_KEYS, _file(PUBLIC))


def _file(name: str) -> Path:
    return _path(settings.KEYS_DIR, settings.SERVICE.name, name)


@cache
def _path(folder: str | Path, service: str, name: str) -> Path:
    """Cached, because building a KeySet takes longer than a lookup in it."""
    return Path(folder, service, name)


@cache
def _own_key(text: str, file: Path) -> OKPKey | None:
    if not text:
        try:
            text = file.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeysError(f"{file} cannot be read: {error.strerror}") from None
    try:
        return private_key(json.loads(text))
    except ValueError as error:
        raise KeysError(f"the key of {settings.SERVICE.name} is not valid: {error}") from None


@cache
def _service_keys(process: int, text: str, file: Path) -> KeySet:
    def read() -> Keys:
        try:
            return read_public(text or file.read_text())
        except ValueError as error:
            raise KeysError(f"the services' public keys are damaged: {error}") from None

    return KeySet(read)


def read_public(text: str) -> Keys:
    """The public keys in the JSON of a JWK set. Raises ValueError."""
    return public_keys(json.loads(text))


def private_key(parts: Any) -> OKPKey:
    """The private key that a decoded JWK describes. Raises ValueError."""
    is_private = isinstance(parts, dict) and parts.get("crv") == "Ed25519" and parts.get("d") and parts.get("kid")
    if not is_private:
        raise ValueError("expected a private Ed25519 JWK with a kid")
    try:
        return OKPKey.import_key(parts)
    except Exception:
        raise ValueError("expected a private Ed25519 JWK with a kid") from None


def new_key(owner: str) -> OKPKey:
    """A new private key. Its id begins with ``owner``, the name of a service."""
    return OKPKey.generate_key("Ed25519", {"kid": f"{owner}.{secrets.token_hex(8)}", "use": "sig"})


def ensure_keys(folder: Path, *, rotate: bool = False) -> list[str]:
    """Create missing keys in ``folder``, or with ``rotate`` new keys for all; the previous public keys are kept.

    A running service continues to sign with the key that it started with. Returns the names of the services that got
    a new key. Raises KeysError.
    """
    made = [each.name for each in SERVICES if rotate or not (folder / each.name / PRIVATE).exists()]
    try:
        known = _known(folder)
        for service in SERVICES:
            known[service.name] = _present_key(folder, service, known.get(service.name, []), rotate=rotate)
        public = {"keys": [key for keys in known.values() for key in keys]}
        for service in SERVICES:
            _write(folder / service.name / PUBLIC, public, 0o644)
        return made
    except OSError as error:
        raise KeysError(f"{error.filename or folder} cannot be used: {error.strerror}. Set KEYS_DIR.") from None
    except ValueError as error:
        raise KeysError(f"The keys in {folder} are damaged ({error}): delete them to get new ones.") from None


def _known(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The existing public keys of each service, the newest last."""
    file = folder / SERVICES[0].name / PUBLIC
    known: dict[str, list[dict[str, Any]]] = {}
    for kid, key in (read_public(file.read_text()) if file.exists() else {}).items():
        known.setdefault(owner_of(kid), []).append(key.as_dict(private=False))
    return known


def _present_key(folder: Path, service: Service, known: list[dict[str, Any]], *, rotate: bool) -> list[dict[str, Any]]:
    """The public keys to publish for a service. Creates its private key if needed."""
    file = folder / service.name / PRIVATE
    if rotate or not file.exists():
        key = new_key(service.name)
        _write(file, key.as_dict(private=True), 0o600)
    else:
        key = private_key(json.loads(file.read_text()))
    older = [each for each in known if each["kid"] != key.kid]
    return [*older, key.as_dict(private=False)][-KEPT:]


def _write(file: Path, content: Mapping[str, Any], mode: int) -> None:
    """Write atomically, so that no reader sees half a file. An unchanged file is not written."""
    text = json.dumps(content, indent=1)
    if file.exists() and file.read_text() == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "w") as written:
        written.write(text)
    Path(name).chmod(mode)
    Path(name).rename(file)
