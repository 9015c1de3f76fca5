"""Users in the admin; every change goes through the use cases, so that the feed hears of it."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from user_svc import services
from user_svc.models import User


@admin.register(User)
class UserAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("id", "name", "email", "is_active", "created_at")
    list_filter = ("is_active", "created_at")
    search_fields = ("name", "email")
    fields = ("name", "email", "phone", "address", "is_active", "created_at", "updated_at", "version")
    readonly_fields = ("created_at", "updated_at", "version")
    show_full_result_count = False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if change:
            services.update_user(obj.pk, None, **values)
        else:
            obj.pk = services.create_user(**values).pk

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.delete_user(obj.pk, None)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for user in queryset:
            services.delete_user(user.pk, None)
