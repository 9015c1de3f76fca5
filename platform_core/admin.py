"""Base classes for admin pages, and the pages for accounts and idempotency keys.

Lists cost the same for tables of any size.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR, PAGE_VAR
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import BinaryField, GeneratedField, JSONField, Model, Q, QuerySet, TextField
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.views import ChangeList

from platform_core.admin_filters import DaysFilter
from platform_core.api.stored_answers import shown_answer
from platform_core.auth.staff import identity
from platform_core.conf.currencies import decimals, grouped_amount, rounded
from platform_core.db.isolation import retry_parked
from platform_core.http import context, link
from platform_core.models import FailedItem, IdempotencyKey
from platform_core.topology import USER


def amount_column(name: str) -> Callable[[Model], SafeString | None]:
    """A column or read-only field of a page that shows the amount in the field ``name``: ``1,234.50 USD``, or
    ``1,235 JPY``. List it in ``sortable_by`` if the field has an index.
    """

    @admin.display(description=name.replace("_", " "), ordering=name, empty_value="-")
    def shown(row: Model) -> SafeString | None:
        value: Decimal | None = getattr(row, name)
        return None if value is None else stacked(grouped_amount(value, settings.CURRENCY))

    shown.__name__ = name
    return shown


class AmountField(forms.DecimalField):
    """An amount in a form, with the decimals of the shop's currency."""

    def __init__(self, **kwargs: Any) -> None:
        whole = kwargs.pop("max_digits") - kwargs.pop("decimal_places")
        super().__init__(**kwargs, max_digits=whole + decimals(), decimal_places=decimals())

    def prepare_value(self, value: Any) -> Any:
        return rounded(value) if isinstance(value, Decimal) else value


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts at most ``most`` rows. Rows beyond that number are reached by a search or a filter."""

    most = 10_000
    template_name = "admin/bounded_pagination.html"

    @cached_property
    def count(self) -> int:
        """The number of rows, at most ``most``."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: self.most].count()


_NOT_FILTERS = (PAGE_VAR, ORDER_VAR, ERROR_FLAG)


def _has_days(request: HttpRequest, column: str) -> bool:
    return any(request.GET.get(f"{column}_{end}") for end in ("from", "to"))


def _rendered(response: Any) -> Any:
    """Renders the template now, in the time zone of the block around the call."""
    return response.render() if hasattr(response, "render") else response


class LeanChangeList(ChangeList):  # type: ignore[misc]
    """Does not load long columns that the list does not show. Each row gets the request, for links to services."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        long = (BinaryField, GeneratedField, JSONField, TextField)
        unseen = [f.name for f in self.opts.fields if isinstance(f, long) and f.name not in self.list_display]
        found: QuerySet[Any] = super().get_queryset(request, *args, **kwargs).defer(*unseen)
        return found

    def get_ordering_field(self, field_name: Any) -> Any:
        """Ignores a column in the query string that the list does not offer for sorting, for it may have no index."""
        return super().get_ordering_field(field_name) if field_name in self.sortable_by else None

    def get_results(self, request: HttpRequest) -> None:
        """Without a search or filter, the page shows everything, so it gets no link "Show all"."""
        super().get_results(request)
        for row in self.result_list:
            row.list_request = request
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class PlatformAdmin(ModelAdmin):  # type: ignore[misc]
    """Base of all admin pages. Searches and sorting use indexes.

    A search finds rows in which one of ``search_fields`` equals the search term. A subclass lists the columns that have
    an index in ``sortable_by``. Times are shown in the shop's time zone. ``saved_views`` are links above the list, each
    with a title and the filters of the query string.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    sortable_by: Any = ()
    list_before_template = "admin/list_head.html"
    saved_views: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The list, with the links to its saved views."""
        shown = {"saved_views": self._views_for(request), "time_zone": settings.SHOP_TIME_ZONE}
        with timezone.override(settings.SHOP_TIME_ZONE):
            return _rendered(super().changelist_view(request, {**shown, **(extra_context or {})}))

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """The page of one row."""
        with timezone.override(settings.SHOP_TIME_ZONE):
            return _rendered(super().changeform_view(request, object_id, form_url, extra_context))

    def _views_for(self, request: HttpRequest) -> list[dict[str, Any]]:
        chosen = {name: value for name, value in request.GET.items() if value and name not in _NOT_FILTERS}
        return [
            {"title": title, "url": f"?{urlencode(filters)}", "is_current": dict(filters) == chosen}
            for title, filters in self.saved_views.items()
        ]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list. A value that does not fit its filter is named in a message; the list then shows everything."""
        try:
            return super().get_changelist_instance(request)
        except (IncorrectLookupParameters, DataError) as error:
            if ERROR_FLAG not in request.GET:
                given = ", ".join(f"{name}={value}" for name, value in request.GET.items() if name != ERROR_FLAG)
                messages.error(request, f"The list has no such filter, value or page, and shows everything: {given!r}")
            raise IncorrectLookupParameters(str(error)) from error

    def get_ordering(self, request: HttpRequest) -> Any:
        """The model's order; by the column of a `DaysFilter` while that is used."""
        for entry in self.get_list_filter(request):
            if isinstance(entry, tuple) and entry[1] is DaysFilter and _has_days(request, entry[0]):
                return f"-{entry[0]}", "-pk"
        return super().get_ordering(request)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Adds each field's initial value to the form, so that an unedited field does not overwrite a later change."""
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


def linked(url: str, text: object) -> SafeString:
    """A link in a list or on a page of the admin."""
    return format_html('<a href="{}" class="font-semibold text-primary-600 dark:text-primary-500">{}</a>', url, text)


def stacked(*lines: object) -> SafeString:
    """Short texts of a column, one below the other, each on a line of its own."""
    text = format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines))
    return format_html('<span class="block whitespace-nowrap">{}</span>', text)


def linked_resource(resource: str, pk: str, text: str) -> SafeString | str:
    """A link to a resource of this service, such as ``order`` and ``7``; the text alone if it has no page here."""
    try:
        return linked(reverse(f"admin:{settings.SERVICE.package}_{resource}_change", args=[pk]), text)
    except NoReverseMatch:
        return text


def linked_user(row: Any) -> SafeString | str:
    """A link to the user of a row in a list, by its ``user_id``."""
    request = getattr(row, "list_request", None)
    if request is None:
        return str(row.user_id)
    return linked(link(USER, f"/admin/user_svc/user/{row.user_id}/change/", request), row.user_id)


def act_as(request: HttpRequest) -> None:
    """Makes the signed-in user the caller of the current request, for use cases that record who acts."""
    who = identity(request.user)
    context.called_by(who.caller, who.for_user)


class ReadOnlyAdmin(PlatformAdmin):
    """For tables that must not be edited by hand. Their rows are changed by actions only."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whether the user may run the actions: this requires Django's permission to change such rows."""
        return bool(super().has_change_permission(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or [f.name for f in self.opts.fields if not isinstance(f, BinaryField)]


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """The requests with an Idempotency-Key: who sent them and when, the answer, and what it created."""

    list_display = ("key", "path", "caller", "status", "created_at")
    search_fields = ("key",)
    search_help_text = "the whole key"
    fieldsets = (
        ("The request", {"fields": ("key", "method_and_path", "caller", "created_at")}),
        ("The answer", {"fields": ("status", "resource", "answer")}),
    )
    readonly_fields = ("method_and_path", "resource", "answer")

    @display(description="request")  # type: ignore[untyped-decorator]
    def method_and_path(self, row: IdempotencyKey) -> str:
        """Method and path of the request."""
        return row.request or "not recorded (an earlier version has stored this key)"

    @display(description="leads to")  # type: ignore[untyped-decorator]
    def resource(self, row: IdempotencyKey) -> str | SafeString:
        """A link to what the request created or changed."""
        path = row.resource_path
        return format_html('<a href="{0}">{0}</a>', path) if path else "–"

    @display(description="body")  # type: ignore[untyped-decorator]
    def answer(self, row: IdempotencyKey) -> str | SafeString:
        """The stored answer as indented JSON, without personal data and secrets."""
        if not row.body:
            return "none, or erased"
        return format_html('<pre class="office-answer" tabindex="0">{}</pre>', shown_answer(bytes(row.body)))


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
    """The accounts of this admin: local accounts, and shadows of staff accounts. Customers are not among them."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class StaffGroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]
    """Django's groups. Each role of a shadow is stored as a group."""
