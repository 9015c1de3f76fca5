"""The admin's common parts: what may only be looked at, and the tables that every service has."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from platform_core.models import IdempotencyKey


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """For rows that a hand edit would make untrue. What may be done to them is done by actions."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = ("key", "caller", "status", "created_at")
    list_filter = ("status",)
    search_fields = ("key", "caller")
    exclude = ("body", "fingerprint")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["caller", "key", "status", "headers", "created_at"]
