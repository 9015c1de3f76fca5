"""Refuses to start in production with an unsafe configuration. Reports all reasons together."""

import logging
import os
from typing import Any
from urllib.parse import urlsplit

from platform_core.auth.keys import KeysError, own_key, owner_of, service_keys
from platform_core.conf.environment import DEVELOPMENT_KEY, ConfigurationError
from platform_core.topology import SERVICES, USER

MIN_SECRET = 50
MIN_DIFFERENT = 10
ANNOUNCED = "PLATFORM_MODE_ANNOUNCED"
"""Set by `manage.py up` for the processes that it starts."""
log = logging.getLogger("platform.mode")


def check(settings: Any) -> None:
    """Runs before a web or worker starts. Raises ConfigurationError."""
    if settings.PLATFORM_ENV == "development":
        return
    found = [*_open_doors(settings), *_secrets(settings), *_keys(settings)]
    if found:
        raise ConfigurationError([f"production refuses {problem}" for problem in found])


def warn(settings: Any) -> None:
    """Log what the operator should know when a web starts: that it is open to all, or that mailed links lead nowhere.

    `manage.py up` prints the first of these itself, once for all services.
    """
    if settings.PLATFORM_ENV == "development":
        if not os.environ.get(ANNOUNCED):
            detail = "Development mode: everybody who can reach this service may do everything."
            log.warning("mode.development", extra={"data": {"detail": detail}})
    elif settings.SERVICE is USER and urlsplit(settings.ACCOUNT_LINKS_URL).hostname == "localhost":
        detail = "Mailed links begin with http://localhost, so customers cannot follow them: set ACCOUNT_LINKS_URL."
        log.warning("mode.local_links", extra={"data": {"detail": detail}})


def _open_doors(settings: Any) -> list[str]:
    found = []
    if settings.DEBUG:
        found.append("DEBUG: it shows settings and code to everybody")
    if not settings.HOSTS_ARE_GIVEN:
        found.append("to start without ALLOWED_HOSTS: name the hosts under which the service is reached")
    if any(host.startswith("*") for host in settings.ALLOWED_HOSTS):
        found.append("ALLOWED_HOSTS with *: name the hosts")
    if settings.CORS_ALLOW_ALL_ORIGINS:
        found.append("CORS_ALLOWED_ORIGINS=*: name the origins")
    if not settings.DATABASE_IS_GIVEN:
        found.append("to start without DATABASE_URL")
    return found


def _secrets(settings: Any) -> list[str]:
    key = settings.SECRET_KEY
    if key == DEVELOPMENT_KEY:
        return ["the default SECRET_KEY, which everybody knows"]
    if len(key) < MIN_SECRET or len(set(key)) < MIN_DIFFERENT:
        return [f"a SECRET_KEY of fewer than {MIN_SECRET} characters, or of fewer than {MIN_DIFFERENT} different ones"]
    return []


def _keys(settings: Any) -> list[str]:
    """Problems with the service's own key, and with the public keys of all services."""
    hint = f"KEYS_DIR ({settings.KEYS_DIR}): `manage.py keys` makes them"
    try:
        own = own_key()
        if own is None:
            return [f"to start without the key of {settings.SERVICE.name} in {hint}"]
        known = service_keys().all()
    except (KeysError, OSError) as error:
        return [f"these keys in {hint}: {error}"]
    if owner_of(own.kid or "") != settings.SERVICE.name:
        return [f"the key of {owner_of(own.kid or '')} as that of {settings.SERVICE.name} in {hint}"]
    missing = [service.name for service in SERVICES if service.name not in {owner_of(kid) for kid in known}]
    published = known.get(own.kid or "")
    if published is None or published.as_dict(private=False)["x"] != own.as_dict(private=False)["x"]:
        missing.append(f"{settings.SERVICE.name}'s own present one")
    return [f"to start without the public keys of {', '.join(missing)} in {hint}"] if missing else []
