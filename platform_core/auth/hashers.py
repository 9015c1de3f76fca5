"""Password hashing, tuned."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from platform_core.http.errors import Unavailable

WAIT_SECONDS = 0.5
"""Longer than a hash takes, and short, because the thread that waits is one of few."""
_M_MMAP_THRESHOLD = -3


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with OWASP's parameters (19 MiB, 2 passes). Django's defaults use 100 MiB for each sign-in."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        with hash_place():
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with hash_place():
            return super().verify(password, encoded)


@contextmanager
def hash_place() -> Iterator[None]:
    """Hold one of this process's places for hashes.

    Throttles do not limit right passwords, and hashes must not take all threads from other requests. Raises Unavailable
    if no place is free within WAIT_SECONDS.
    """
    if not _places().acquire(timeout=WAIT_SECONDS):
        raise Unavailable("Too many passwords are being checked at once.")
    try:
        yield
    finally:
        _places().release()


@cache
def _places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(settings.HASH_PLACES)


def _give_back_what_is_big() -> None:
    """Make glibc return a hash's memory to the system. By default it raises its threshold after the first large block
    and then keeps 19 MiB for each thread that has ever hashed.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)


_give_back_what_is_big()
