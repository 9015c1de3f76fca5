"""Password hashing, tuned."""

import ctypes
import sys

from django.contrib.auth.hashers import Argon2PasswordHasher

_M_MMAP_THRESHOLD = -3


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with OWASP's parameters (19 MiB, 2 passes). Django's defaults use 100 MiB for each sign-in."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1


def _give_back_what_is_big() -> None:
    """Make glibc return a hash's memory to the system. By default it raises its threshold after the first large block
    and then keeps 19 MiB for each thread that has ever hashed.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)


_give_back_what_is_big()
