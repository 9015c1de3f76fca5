"""Accounts and profiles."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models.functions import Lower

from platform_core.models import Resource


class WordVector(models.Func):
    """The words of a text, lower-case, cut at anything but letters and digits: no dictionary, so names stay names."""

    template = (
        "array_to_tsvector(array_remove(regexp_split_to_array(lower((%(expressions)s)::text), '[^[:alnum:]]+'), ''))"
    )
    arity = 1
    output_field = SearchVectorField()


class User(Resource):
    """A customer. Without a password the account cannot sign in."""

    name = models.CharField(max_length=200)
    email = models.EmailField(max_length=254)
    phone = models.CharField(max_length=50, blank=True, default="")
    address = models.CharField(max_length=500, blank=True, default="")
    password = models.CharField(max_length=200, blank=True, default="", editable=False)
    is_active = models.BooleanField(default=True)
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
        )
        indexes = (GinIndex(fields=("words",), name="user_words"),)

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"
