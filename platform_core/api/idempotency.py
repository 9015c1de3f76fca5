"""Idempotency-Key on POST: one submit, one effect (draft-ietf-httpapi-idempotency-key-header).

The key, the change and the stored answer are written in one transaction. A request that arrives while the first one
with its key is running gets 409 at once, by an advisory lock, instead of waiting for a row lock.
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from argon2.low_level import Type, hash_secret_raw
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.fields.json import KT
from django.db.models.functions import Now
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.json import decode, encode
from platform_core.api.problems import translated
from platform_core.api.strict_bodies import refuse_repeated
from platform_core.auth.access import caller_of
from platform_core.auth.hashers import Argon2Hasher, hash_place
from platform_core.db.connections import prepared
from platform_core.http.errors import Conflict, InvalidInput, NotFound, PlatformError, Unprocessable
from platform_core.http.problems import problem
from platform_core.models import IdempotencyKey

_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_canonical = msgspec.json.Encoder(order="sorted", enc_hook=str).encode
_FINGERPRINT_BYTES = 32
_MOST_OF_PATH = 200
_ERASED = 404
"""The status of a stored answer that was erased. No answer of a use case is stored with it."""

View = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Claim:
    """A key with its caller, and the fingerprint of its request: of the path and of the body in canonical form."""

    caller: str
    key: str
    fingerprint: bytes
    content: bytes
    path: str = ""

    @classmethod
    def of(cls, request: Request) -> "Claim | None":
        """The claim of a request; None without the header. Raises InvalidInput for a malformed key."""
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is None:
            return None
        if not _KEY.fullmatch(key):
            raise InvalidInput.field("Idempotency-Key", "Expected 1 to 255 printable ASCII characters.")
        caller = caller_of(request).caller
        fingerprint = fingerprint_of(request.path, request.data, salt=f"{caller}:{key}")
        return cls(caller, key, fingerprint, _content(request.path, request.data), request.path[:_MOST_OF_PATH])

    def check(self, fingerprint: bytes | memoryview | None) -> None:
        """Raises Unprocessable if the key was used with another request."""
        stored = bytes(fingerprint or b"")
        if not any(hmac.compare_digest(each, stored) for each in (self.fingerprint, *self._earlier_fingerprints())):
            raise Unprocessable(
                "This Idempotency-Key was used with another request; a new request needs a new key.",
                code="idempotency_key_reused",
            )

    def _earlier_fingerprints(self) -> list[bytes]:
        """As earlier versions stored them: an HMAC with SECRET_KEY, which ceases to match when that is changed."""
        keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return [hmac.new(str(key).encode(), self.content, hashlib.sha256).digest() for key in keys]

    @property
    def lock(self) -> str:
        """The name of the key's advisory lock."""
        return f"{settings.SERVICE.name}:{self.caller}:{self.key}"

    def hold(self) -> None:
        """Lock the key until the transaction ends. Raises Conflict at once if another request holds it."""
        ((held,),) = prepared("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [self.lock])
        if not held:
            raise in_progress()


def fingerprint_of(path: str, data: Any, *, salt: str = "") -> bytes:
    """The hash of a request's path and body: 32 bytes.

    It depends on no secret of the configuration, so that a repetition is recognised after SECRET_KEY was changed. It is
    a SHA-256: whoever can read it can also read the row that the request wrote. A password is in no row, so a body with
    one gets the hash that a stored password has (Argon2id), with ``salt``, which must be the same for a repetition.
    """
    content = _content(path, data)
    if not (isinstance(data, Mapping) and data.get("password")):
        return hashlib.sha256(content).digest()
    with hash_place():
        return hash_secret_raw(
            content,
            hashlib.sha256(salt.encode()).digest(),
            time_cost=Argon2Hasher.time_cost,
            memory_cost=Argon2Hasher.memory_cost,
            parallelism=Argon2Hasher.parallelism,
            hash_len=_FINGERPRINT_BYTES,
            type=Type.ID,
        )


def _content(path: str, data: Any) -> bytes:
    return path.rstrip("/").encode() + b"\0" + _canonical(data)


def erase_answers(location: str) -> int:
    """Erase the stored answers to the requests that created the resource at ``location``, a path; returns how many.

    Called in the transaction that deletes a resource with personal data. The keys stay: a repetition gets 404
    `not_found` and creates nothing. The fingerprints are erased, too, because they are hashes of the same data.
    """
    answers = IdempotencyKey.objects.alias(location=KT("headers__Location")).filter(location=location)
    return answers.update(status=_ERASED, headers={}, body=b"", fingerprint=b"")


def in_progress() -> Conflict:
    """The error for a key whose first request is still running."""
    return Conflict(
        "The first request with this Idempotency-Key is still running.",
        code="idempotency_in_progress",
        headers={"Retry-After": "1"},
    )


def replayed(response: Response) -> Response:
    """Mark a response as a repeated answer."""
    response["Idempotent-Replayed"] = "true"
    return response


def takes_key(view: View) -> View:
    """Marks a view method that handles the key by itself (`Claim`), so that the OpenAPI document has the header."""
    view.takes_key = True  # type: ignore[attr-defined]
    return view


def handles_key(view: object) -> bool:
    """Whether the view method handles an Idempotency-Key."""
    return getattr(view, "takes_key", False)


def idempotent(view: View) -> View:
    """Decorates a POST whose work is one local transaction: with a key it runs once, and repetitions get its answer."""

    @takes_key
    @functools.wraps(view)
    def keyed(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        claim = Claim.of(request)
        if claim is None:
            return view(self, request, *args, **kwargs)
        with transaction.atomic():
            claim.hold()
            stored = _stored(claim)
            if stored is None:
                refuse_repeated(request)
                return _store(claim, _outcome(view, self, request, *args, **kwargs), _personal(self))
            return _completed(stored, self)

    return keyed


def _personal(view: Any) -> Sequence[str]:
    """The members of the view's answers that hold personal data."""
    return getattr(view, "personal_members", ())


def _completed(stored: Response, view: Any) -> Response:
    """The stored answer with the personal members as they are now, which the storage leaves out."""
    if _personal(view) and stored.status_code < 400 and stored.data is not None:
        data, present = decode(encode(stored.data)), view.represented(view.get_object())
        stored.data = {name: present[name] if name in _personal(view) else value for name, value in data.items()}
    return stored


def _stored(claim: Claim) -> Response | None:
    rows = IdempotencyKey.objects.filter(caller=claim.caller, key=claim.key)
    row = rows.annotate(is_expired=expired_keys()).first()
    if row is None:
        return None
    if row.is_expired:
        row.delete()  # expired, but not yet deleted by the worker
        return None
    if row.status == _ERASED:
        raise NotFound("What the first request with this Idempotency-Key created has been deleted.")
    claim.check(row.fingerprint)
    data = msgspec.Raw(bytes(row.body)) if row.body else None
    response = Response(data, status=row.status, headers=row.headers)
    response.problem = row.status >= 400  # type: ignore[attr-defined]
    return replayed(response)


def expired_keys() -> Q:
    """The condition of a key that has expired, by Postgres' clock."""
    return Q(created_at__lt=Now() - timedelta(hours=settings.IDEMPOTENCY_HOURS))


def _outcome(view: View, *args: Any, **kwargs: Any) -> Response:
    """The outcome to store: an answer, or the 409 or 422 of a business rule. Other errors are raised, not stored."""
    try:
        with transaction.atomic():
            return view(*args, **kwargs)
    except (PlatformError, IntegrityError) as exc:
        error = translated(exc)
        if error.status not in (409, 422):
            raise
    response = Response(problem(error), status=error.status, headers=error.headers)
    response.problem = True  # type: ignore[attr-defined]
    return response


def _store(claim: Claim, response: Response, personal: Sequence[str]) -> Response:
    data = response.data
    if personal and response.status_code < 400 and data is not None:
        data = {name: None if name in personal else value for name, value in data.items()}
    IdempotencyKey.objects.create(
        caller=claim.caller,
        key=claim.key,
        path=claim.path,
        fingerprint=claim.fingerprint,
        status=response.status_code,
        headers={name: response[name] for name in ("Location", "ETag") if response.has_header(name)},
        body=b"" if data is None else encode(data),
        created_at=Now(),
    )
    return response
