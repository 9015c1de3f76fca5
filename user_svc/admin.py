"""Users in the admin. Every change goes through the use cases, so that it writes an event."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.forms import CheckboxSelectMultiple
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.decorators import display

from platform_core.admin import PlatformAdmin, linked, stacked
from platform_core.admin_filters import ChoiceFilter, DaysFilter
from platform_core.http import link
from platform_core.jobs import delete_many
from platform_core.topology import NOTIFICATION, ORDER
from platform_core.vocabulary import Role
from user_svc import services
from user_svc.bulk import DELETE, STAFF_TOO
from user_svc.emails import BadAddress, email_key
from user_svc.models import User


class RolesField(forms.MultipleChoiceField):
    def has_changed(self, initial: Any, data: Any) -> bool:
        return set(initial or ()) != set(data or ())


class UserForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Checks the address, which is unique by its key; the key is no field of the form."""

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        try:
            key = email_key(email)
        except BadAddress as error:
            raise forms.ValidationError(str(error)) from None
        if User.objects.filter(email_key=key).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("Another user has this email address.", code="email_taken")
        return email


class KindFilter(ChoiceFilter):
    title, parameter_name = "kind", "kind"
    options = (("staff", "staff"), ("disabled", "disabled accounts"), ("unverified", "unverified addresses"))

    def matching(self, rows: QuerySet[User], text: str) -> QuerySet[User]:
        if text == "staff":
            return rows.exclude(roles=[])
        return rows.filter(is_active=False) if text == "disabled" else rows.filter(email_verified=False)


@admin.register(User)
class UserAdmin(PlatformAdmin):
    list_display = ("id", "name", "email", "is_active", "roles", "created_at")
    list_filter = (KindFilter, ("created_at", DaysFilter))
    list_filter_submit = True
    saved_views = {"All": {}, "Staff": {"kind": "staff"}, "Disabled": {"kind": "disabled"}}
    search_fields = ("name", "email")
    search_help_text = "prefixes of words in name or email"
    sortable_by = ("id",)
    actions = ("delete_selected",)
    readonly_fields = ("email_verified", "pending_email", "leads_to", "created_at", "updated_at", "version")

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """All fields; of an account that is being added those of the form alone."""
        fields = super().get_fields(request, obj)
        return fields if obj is not None else [name for name in fields if name != "leads_to"]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One account, with the request, for links to other services."""
        user = super().get_object(request, object_id, from_field)
        if user is not None:
            user.list_request = request
        return user

    @display(description="leads to")  # type: ignore[untyped-decorator]
    def leads_to(self, user: User) -> SafeString:
        """Links to the user's orders and to the messages to them."""
        request = user.list_request  # type: ignore[attr-defined]
        orders = link(ORDER, f"/admin/order_svc/order/?customer={user.pk}", request)
        messages = link(NOTIFICATION, f"/admin/notification_svc/notification/?user={user.pk}", request)
        return stacked(linked(orders, "Orders"), linked(messages, "Messages"))

    @admin.action(description="Delete selected users", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Asks about a single account as Django does. More than one are deleted by a job."""
        return delete_many(self, request, queryset, DELETE, **{STAFF_TOO: request.user.is_superuser})

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=UserForm, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "roles":
            choices = [(role.value, role.value) for role in Role]
            widget = CheckboxSelectMultiple
            return RolesField(choices=choices, required=False, widget=widget, show_hidden_initial=True)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only admins may change roles."""
        return self.readonly_fields if request.user.is_superuser else (*self.readonly_fields, "roles")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and self.may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and self.may_touch(request, obj)

    def may_touch(self, request: HttpRequest, obj: User | None) -> bool:
        """Only admins may change staff accounts. Otherwise other roles could escalate their privileges."""
        return request.user.is_superuser or obj is None or not obj.roles

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[User], search_term: str) -> Any:
        if not search_term:
            return queryset, False
        return services.search_users(queryset, search_term), False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if change:
            services.update_user(obj.pk, None, **values)
        else:
            obj.pk = services.create_user(**values).pk

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.delete_user(obj.pk, None)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for user in queryset if request.user.is_superuser else queryset.filter(roles=[]):
            services.delete_user(user.pk, None)
