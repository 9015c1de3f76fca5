"""The base model of all resources, and the tables that every service has."""

import re
from typing import Any

from django.db import models
from django.db.models import F
from django.db.models.fields.json import KT
from django.utils.timezone import now

from platform_core.http.errors import NotFound, PreconditionFailed


class Resource(models.Model):
    """Base of the rows that the API serves. Every change raises ``version`` by one; the ETag is made from it."""

    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(default=now, editable=False)
    version = models.BigIntegerField(default=1, editable=False)

    class Meta:
        abstract = True


def write(rows: models.QuerySet[Any], expected: list[int] | None, **changes: Any) -> None:
    """Change the one row of ``rows`` if its version is among ``expected`` (None: any version).

    The comparison is part of the UPDATE, so of two writers with the same version only one succeeds. Raises
    PreconditionFailed if the row has another version, NotFound if there is no row.
    """
    guarded = rows if expected is None else rows.filter(version__in=expected)
    if not guarded.update(**changes, version=F("version") + 1, updated_at=now()):
        raise PreconditionFailed() if expected is not None and rows.exists() else NotFound()


class Throttle(models.Model):
    """The number of attempts since the limit began; it is reset at ``resets_at``. See `platform_core.auth.throttle`."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.IntegerField()
    resets_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class IdempotencyKey(models.Model):
    """The stored answer to a POST that came with an Idempotency-Key. See `platform_core.api.idempotency`."""

    caller = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    path = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="Empty if an earlier version has stored it."
    )
    fingerprint = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    created_at = models.DateTimeField(default=now, db_index=True)

    class Meta:
        ordering = ("-id",)
        # In this order, so that a key is found without its caller, too.
        constraints = (models.UniqueConstraint(fields=("key", "caller"), name="idempotency_key_once_per_caller"),)
        indexes = (models.Index(KT("headers__Location"), name="idempotency_key_by_location"),)

    def __str__(self) -> str:
        return self.key

    @property
    def request(self) -> str:
        """Method and path of the request; empty for a key that an earlier version has stored."""
        return f"POST {self.path}" if self.path else ""

    @property
    def resource_path(self) -> str:
        """The path of what the request created, or of the resource in its own path; empty if there is none."""
        created: str = self.headers.get("Location", "")
        if created.startswith("/"):
            return created
        changed = re.match(r"/[a-z/-]+/[0-9]+(?=/|$)", self.path, re.ASCII)
        return changed[0] if changed else ""


class ErasedPerson(models.Model):
    """The id of a person whose data this service has erased. It stays for ever, so that no data is written later.

    See `platform_core.privacy`.
    """

    user_id = models.BigIntegerField(primary_key=True)
    erased_at = models.DateTimeField(default=now)

    def __str__(self) -> str:
        return f"person {self.user_id}"


class RedeemedTicket(models.Model):
    """The id of a sign-on ticket that was redeemed here, until no ticket with this id can be valid any more.

    See `platform_core.auth.tickets`.
    """

    jti = models.CharField(max_length=64, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.jti


class FailedItem(models.Model):
    """An item of a background duty that could not be processed: retried until it is parked.

    See `platform_core.db.isolation`.
    """

    duty = models.CharField(max_length=64)
    item = models.CharField(max_length=100, help_text="The id of the row.")
    attempts = models.PositiveIntegerField()
    error = models.TextField()
    failed_at = models.DateTimeField(help_text="When it failed first.")
    retry_at = models.DateTimeField()
    parked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("duty", "item"), name="failed_item_once"),)

    def __str__(self) -> str:
        return f"{self.duty} {self.item}"


class SchemaCurrency(models.Model):
    """The currency of all amounts in this schema: that of the first migration. It has one row and never changes."""

    id = models.BooleanField(primary_key=True, default=True)
    code = models.CharField(max_length=3)

    class Meta:
        constraints = (models.CheckConstraint(condition=models.Q(id=True), name="schema_currency_is_one"),)

    def __str__(self) -> str:
        return self.code
