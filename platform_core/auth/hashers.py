"""Password hashing, tuned."""

import ctypes
import sys

from django.contrib.auth.hashers import Argon2PasswordHasher

_M_MMAP_THRESHOLD = -3


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with OWASP's first recommendation (19 MiB, 2 passes): Django's default takes 100 MiB a sign-in."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1


def _give_back_what_is_big() -> None:
    """Have the C library return a hash's memory when it is done. Left to itself, glibc learns from the first one that
    such blocks are wanted, and keeps 19 MiB for each thread that ever hashed.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)


_give_back_what_is_big()
