"""The mails of development."""

from django.db import models
from django.utils.timezone import now


class DevelopmentMail(models.Model):
    """A mail that was sent in development. It is encrypted, so that tokens are readable on the page of mails alone."""

    created_at = models.DateTimeField(default=now)
    user_id = models.BigIntegerField()
    sealed = models.TextField()
    """The `Letter` as JSON."""

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"mail {self.pk}"
