"""Accounts and profiles."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.timezone import now

from platform_core.models import Resource
from platform_core.vocabulary import Role


class WordVector(models.Func):
    """The words of a text, lower-case, cut at anything but letters and digits: no dictionary, so names stay names."""

    template = (
        "array_to_tsvector(array_remove(regexp_split_to_array(lower((%(expressions)s)::text), '[^[:alnum:]]+'), ''))"
    )
    arity = 1
    output_field = SearchVectorField()


class User(Resource):
    """A person with an account: a customer, or with a role one of the staff. Without a password nobody can sign in."""

    name = models.CharField(max_length=200)
    email = models.EmailField(max_length=254)
    phone = models.CharField(max_length=50, blank=True, default="")
    address = models.CharField(max_length=500, blank=True, default="")
    password = models.CharField(max_length=200, blank=True, default="", editable=False)
    is_active = models.BooleanField(default=True)
    roles = ArrayField(models.CharField(max_length=16), default=list, db_default=[], blank=True)
    words = models.GeneratedField(
        expression=WordVector(
            models.expressions.CombinedExpression(
                models.F("name"),
                "||",
                models.expressions.CombinedExpression(models.Value(" "), "||", models.F("email")),
            )
        ),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_taken",
                violation_error_code="email_taken",
                violation_error_message="Another user has this email address.",
            ),
            models.CheckConstraint(
                condition=Q(roles__contained_by=[role.value for role in Role]), name="user_roles_known"
            ),
        )
        indexes = (GinIndex(fields=("words",), name="user_words"),)

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class Session(models.Model):
    """A sign-in, and the family of refresh tokens that come of it. It ends for all of them at once."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    created_at = models.DateTimeField(default=now)
    used_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=32, blank=True, default="", help_text="Why it was revoked.")

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"session of user {self.user_id}"


class RefreshToken(models.Model):
    """What is kept of a refresh token: its SHA-256, and whether it is spent. Spent, it comes again as a copy alone."""

    hash = models.BinaryField(primary_key=True, max_length=32)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="tokens")
    created_at = models.DateTimeField(default=now)
    spent_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"refresh token of {self.session_id}"


class SigningKey(models.Model):
    """A key for access tokens. ``sealed`` is its private half, encrypted by a key that is derived from SECRET_KEY.

    A retired key signs no more; its public half is published until what it signed has expired.
    """

    kid = models.CharField(max_length=64, primary_key=True)
    x = models.CharField(max_length=64, help_text="The public half, as in a JWK.")
    sealed = models.BinaryField()
    created_at = models.DateTimeField(default=now)
    retired_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.kid
