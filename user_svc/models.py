"""Accounts and profiles."""

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from platform_core.db import NameWords
from platform_core.models import Resource
from platform_core.vocabulary import Role
from user_svc.emails import MOST, email_key


class User(Resource):
    """A person with an account: a customer, or with any role a member of the staff. Sign-in needs a password."""

    name = models.CharField(max_length=200)
    email = models.EmailField(max_length=254)
    email_key = models.CharField(max_length=MOST, editable=False)
    """The form of the address that is unique and looked up (`emails.email_key`). ``email`` is as it was given."""
    email_verified = models.BooleanField(default=True, db_default=True, editable=False)
    pending_email = models.EmailField(max_length=254, null=True, blank=True, editable=False)
    """The address that replaces ``email`` when its link is followed."""
    phone = models.CharField(max_length=50, blank=True, default="")
    address = models.CharField(max_length=500, blank=True, default="")
    password = models.CharField(max_length=200, blank=True, default="", editable=False)
    is_active = models.BooleanField(default=True)
    roles = ArrayField(models.CharField(max_length=16), default=list, db_default=[], blank=True)
    words = models.GeneratedField(
        expression=NameWords("name", "email"), output_field=SearchVectorField(), db_persist=True
    )

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("email_key",),
                name="user_email_taken",
                violation_error_code="email_taken",
                violation_error_message="Another user has this email address.",
            ),
            models.CheckConstraint(condition=Q(email_key__contains="@"), name="user_email_key_set"),
            models.CheckConstraint(
                condition=Q(roles__contained_by=[role.value for role in Role]), name="user_roles_known"
            ),
        )
        indexes = (
            GinIndex(fields=("words",), name="user_words"),
            models.Index(fields=("id",), name="user_unverified", condition=Q(email_verified=False)),
            models.Index(fields=("id",), name="user_inactive", condition=Q(is_active=False)),
            models.Index(fields=("id",), name="user_staff", condition=~Q(roles=[])),
            models.Index(fields=("created_at",), name="user_by_time"),
        )

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Saves the key with the address. Raises BadAddress."""
        self.email_key = email_key(self.email)
        if "email" in (kwargs.get("update_fields") or ()):
            kwargs["update_fields"] = {*kwargs["update_fields"], "email_key"}
        super().save(*args, **kwargs)


class Session(models.Model):
    """A sign-in with all refresh tokens that it issued. When it ends, all of them become invalid."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    created_at = models.DateTimeField(default=now)
    used_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=32, blank=True, default="", help_text="Why the session was revoked.")

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"session of user {self.user_id}"


class KnownAddress(models.Model):
    """An IP address from which somebody has signed in to the account. ``key`` is an HMAC of the account and of it."""

    key = models.CharField(max_length=64, primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="known_addresses")
    seen_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"address of user {self.user_id}"


class RefreshToken(models.Model):
    """The SHA-256 of a refresh token, and when it was spent. Reuse of a spent token means that it was stolen."""

    hash = models.BinaryField(primary_key=True, max_length=32)
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="tokens")
    created_at = models.DateTimeField(default=now)
    spent_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"refresh token of {self.session_id}"


class AccountToken(models.Model):
    """The SHA-256 of a token that was mailed. It can be used once, until it expires; then its row is deleted.

    ``email`` is the address that it was sent to. ``profile`` has the account that begins with it, with its id and the
    hash of its password, until the token is used.
    """

    class Purpose(models.TextChoices):
        RESET = "reset"
        VERIFY = "verify"
        SIGN_UP = "sign_up"

    hash = models.BinaryField(primary_key=True, max_length=32)
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="account_tokens")
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    email = models.EmailField(max_length=254)
    email_key = models.CharField(max_length=MOST, db_index=True)
    profile = models.JSONField(default=dict, blank=True)
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(purpose="sign_up", user=None) | (~Q(purpose="sign_up") & Q(user__isnull=False)),
                name="account_token_of_a_user",
            ),
        )

    def __str__(self) -> str:
        return f"{self.purpose} of user {self.user_id}"


class SigningKey(models.Model):
    """A key for access tokens. ``sealed`` is the private key, encrypted with a key that is derived from SECRET_KEY.

    A retired key does not sign. Its public key is published until the last token that it signed expires.
    """

    kid = models.CharField(max_length=64, primary_key=True)
    x = models.CharField(max_length=64, help_text="The public key, as in a JWK.")
    sealed = models.BinaryField()
    created_at = models.DateTimeField(default=now)
    retired_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.kid
