"""Users in the admin; every change goes through the use cases, so that the feed hears of it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from platform_core.admin import PlatformAdmin
from user_svc import services
from user_svc.models import User


@admin.register(User)
class UserAdmin(PlatformAdmin):
    list_display = ("id", "name", "email", "is_active", "created_at")
    list_filter = ("is_active", "created_at")
    search_fields = ("name", "email")
    search_help_text = "beginnings of words of name or email"
    sortable_by = ("id",)
    fields = ("name", "email", "phone", "address", "is_active", "created_at", "updated_at", "version")
    readonly_fields = ("created_at", "updated_at", "version")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[User], search_term: str) -> Any:
        if not search_term:
            return queryset, False
        return queryset.filter(pk__in=services.find_users(search=search_term).values("pk")), False

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
