"""A cache of public keys by key id, which reloads the key set when needed."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from joserfc.jwk import OKPKey

Keys = Mapping[str, OKPKey]
log = logging.getLogger("platform.keys")


class KeySet:
    """A cached key set. ``load`` returns the current keys, or raises if they are not available.

    Keys are reloaded after ``lifetime`` seconds, and at once for an unknown id. After a reload that failed or did not
    find the id there is no other for ``pause`` seconds, so that many invented ids cause few reloads. When a reload
    fails, the cached keys stay valid. One thread reloads; the others use the cached keys meanwhile.
    """

    def __init__(
        self,
        load: Callable[[], Keys],
        *,
        lifetime: float = 300.0,
        pause: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._lifetime = lifetime
        self._pause = pause
        self._clock = clock
        self._keys: Keys | None = None
        self._read_at = self._in_vain_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, kid: str) -> OKPKey | None:
        """The key with that id, or None. Raises what ``load`` raises if no keys have been loaded yet."""
        if self._is_due(kid):
            self._read(kid)
        return None if self._keys is None else self._keys.get(kid)

    def all(self) -> Keys:
        """All keys, loaded now and not from the cache. Raises what ``load`` raises."""
        return self._load()

    def _is_due(self, kid: str) -> bool:
        if self._keys is None:
            return True
        stale = self._clock() - self._read_at > self._lifetime or kid not in self._keys
        return stale and self._clock() - self._in_vain_at > self._pause

    def _read(self, kid: str) -> None:
        """Every caller waits for the first load. Later, one thread reloads while the others use the old keys."""
        if not self._lock.acquire(blocking=self._keys is None or kid not in self._keys):
            return
        try:
            if self._is_due(kid):
                self._keys = self._load()
                self._read_at = self._clock()
                if kid not in self._keys:
                    self._in_vain_at = self._read_at
        except Exception as error:
            self._in_vain_at = self._clock()
            if self._keys is None:
                raise
            log.warning("keys.not_read", extra={"data": {"error": str(error)}})
        finally:
            self._lock.release()


def public_keys(key_set: object) -> dict[str, OKPKey]:
    """The Ed25519 keys of a JWK set (RFC 7517) by their ids; others and broken ones are skipped. Raises ValueError."""
    if not isinstance(key_set, dict) or not isinstance(key_set.get("keys"), list):
        raise ValueError("not a JWK set")
    found = (_public_key(key) for key in key_set["keys"])
    return {key.kid: key for key in found if key is not None and key.kid is not None}


def _public_key(key: object) -> OKPKey | None:
    """The public half of a key, even if a private key was given."""
    if not isinstance(key, dict) or key.get("crv") != "Ed25519" or not isinstance(key.get("kid"), str):
        return None
    try:
        return OKPKey.import_key({name: key[name] for name in ("kty", "crv", "kid", "x")})
    except Exception:
        return None
