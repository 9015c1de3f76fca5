from django.db import models

from platform_core.models import Resource


class Note(Resource):
    name = models.CharField(max_length=200)
    label = models.CharField(max_length=254)
    text = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        app_label = "notes"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("label",),
                name="note_label_taken",
                violation_error_code="label_taken",
                violation_error_message="Another note has this label.",
            ),
        )

    def __str__(self) -> str:
        return self.name
