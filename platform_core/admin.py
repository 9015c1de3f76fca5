"""The admin's common parts: lists that cost the same at any size, what may only be looked at, and the staff."""

from contextlib import suppress
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import BinaryField, GeneratedField, JSONField, Q, QuerySet, TextField
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.views import ChangeList

from platform_core.isolation import retry_parked
from platform_core.models import FailedItem, IdempotencyKey


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``most`` rows; what lies beyond is found by a search or a filter."""

    most = 10_000
    template_name = "admin/bounded_pagination.html"

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: self.most].count()


class LeanChangeList(ChangeList):  # type: ignore[misc]
    """Loads no column that is long and not shown."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        long = (BinaryField, GeneratedField, JSONField, TextField)
        unseen = [f.name for f in self.opts.fields if isinstance(f, long) and f.name not in self.list_display]
        found: QuerySet[Any] = super().get_queryset(request, *args, **kwargs).defer(*unseen)
        return found

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class PlatformAdmin(ModelAdmin):  # type: ignore[misc]
    """``search_fields`` are matched exactly, so that indexes serve; lists are sorted by what has an index."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by: Any = ()

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A form remembers what it showed, so that what nobody edits is not set back, whatever happened meanwhile."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.show_hidden_initial = True
        return field

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LeanChangeList]:
        return LeanChangeList

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Any:
        if not search_term:
            return queryset, False
        wanted = Q(pk__in=())
        for name in self.search_fields:
            with suppress(ValidationError):
                wanted |= Q(**{name: self.opts.get_field(name).to_python(search_term)})
        return queryset.filter(wanted), False


class ReadOnlyAdmin(PlatformAdmin):
    """For rows that a hand edit would make untrue. What may be done to them is done by actions."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who has Django's permission to change such rows may run the actions."""
        return bool(super().has_change_permission(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or [f.name for f in self.opts.fields if not isinstance(f, BinaryField)]


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = ("key", "caller", "status", "created_at")
    search_fields = ("key", "caller")


@admin.register(FailedItem)
class FailedItemAdmin(ReadOnlyAdmin):
    list_display = ("duty", "item", "attempts", "failed_at", "retry_at", "parked_at", "error")
    list_filter = ("parked_at",)
    search_fields = ("duty", "item")
    actions = ("retry",)

    @admin.action(description="Try parked items again", permissions=["operate"])
    def retry(self, request: HttpRequest, queryset: Any) -> None:
        count = retry_parked(queryset)
        self.message_user(request, f"{count} parked items will be tried again.", messages.SUCCESS)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class StaffAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    """Who may sign in here. Customers are none of these."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class StaffGroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    pass
