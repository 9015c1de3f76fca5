"""Orders in the admin. They are read-only; their status changes only through the use cases."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime, now
from unfold.decorators import display

from order_svc import searching, services
from order_svc.bulk import MOVES, Move
from order_svc.explaining.formatting import REASONS, duration_text
from order_svc.exporting import EXPORT
from order_svc.models import Order
from platform_core.admin import ReadOnlyAdmin, act_as, linked
from platform_core.admin_filters import CannotFilter, ChoiceFilter, DaysFilter, ValueFilter, complain, id_of
from platform_core.conf import grouped_amount
from platform_core.http import PlatformError, link
from platform_core.jobs import ask
from platform_core.topology import USER
from platform_core.vocabulary import HOLDING_STOCK, WITHOUT_STOCK, OrderStatus

# Statuses of one group share a colour. The entries for single statuses come last and override the group's.
_COLOURS = {
    **dict.fromkeys(OrderStatus.values, "info"),
    **dict.fromkeys([status.value for status in HOLDING_STOCK], "primary"),
    **dict.fromkeys([status.value for status in WITHOUT_STOCK], "danger"),
    OrderStatus.SHIPPED.value: "warning",
    OrderStatus.DELIVERED.value: "success",
}

SHOWN_LINES = 2
"""The number of an order's lines that the list names."""


def right_aligned(text: str) -> SafeString:
    return format_html('<span class="block text-right whitespace-nowrap">{}</span>', text)


class StatusFilter(ChoiceFilter):
    title, parameter_name = "status", "status"
    options = tuple(OrderStatus.choices)

    def matching(self, rows: QuerySet[Order], text: str) -> QuerySet[Order]:
        return rows.filter(status=text)


class StuckFilter(ChoiceFilter):
    """Orders that recovery should have rejected, or with a message that is late or was given up."""

    title, parameter_name = "stuck", "stuck"
    options = (("yes", "stuck orders only"),)

    def matching(self, rows: QuerySet[Order], text: str) -> QuerySet[Order]:
        return rows.filter(pk__in=services.stuck_orders())


def by_customer(rows: QuerySet[Order], text: str) -> QuerySet[Order] | None:
    """The orders of a customer, by id or email address, or of the customers with a name. Raises CannotFilter."""
    if "@" in text:
        return searching.with_email(rows, text)
    user_id = id_of(text)
    return _named(rows, text, searching.CUSTOMERS) if user_id is None else rows.filter(user_id=user_id)


def by_product(rows: QuerySet[Order], text: str) -> QuerySet[Order] | None:
    """The newest orders of a product, by id, or of the products with a name. Raises CannotFilter."""
    product_id = id_of(text)
    return _named(rows, text, searching.PRODUCTS) if product_id is None else searching.with_products(rows, [product_id])


def _named(rows: QuerySet[Order], text: str, service: str) -> QuerySet[Order] | None:
    """None if ``text`` is a number, which is no name, and no id either."""
    if text.lstrip("-").isdecimal():
        return None
    names = searching.look_up(text, service)
    if names.unanswered:
        raise CannotFilter(f"{service} does not answer, so names cannot be looked up now. Use an id.")
    return names.among(rows)


class CustomerFilter(ValueFilter):
    title, parameter_name, hint = "customer", "customer", "a user's id, email address or name"

    def matching(self, rows: QuerySet[Order], text: str) -> QuerySet[Order] | None:
        return by_customer(rows, text)


class ProductFilter(ValueFilter):
    title, parameter_name, hint = "product", "product", "a product's id or name: its newest 1,000 orders"

    def matching(self, rows: QuerySet[Order], text: str) -> QuerySet[Order] | None:
        return by_product(rows, text)


PREFIXES = {"customer": by_customer, "product": by_product}
"""What may stand before a colon in the search, and how the rest is then searched."""


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("number", "shown_status", "customer", "items", "shown_total", "placed")
    list_display_links = None
    list_filter = (StatusFilter, StuckFilter, ("created_at", DaysFilter), CustomerFilter, ProductFilter)
    list_filter_submit = True
    search_fields = ("id", "request_id", "customer_email")
    search_help_text = "order number, email, request id, name of a customer or product; product:7, customer:ann"
    sortable_by = ("number", "placed")
    saved_views = {
        "All": {},
        "To ship": {"status": "confirmed"},
        "Stuck": {"stuck": "yes"},
        "On its way": {"status": "shipped"},
        "Rejected": {"status": "rejected"},
    }
    actions = ("cancel", "ship", "deliver", "export", "export_for_excel")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """The list and its actions, which record who acts."""
        act_as(request)
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponseBase:
        """Leads to the page of the order, which is not part of the admin."""
        order = self.get_object(request, object_id)
        if order is None or not self.has_view_permission(request, order):
            missing: HttpResponseBase = super().change_view(request, object_id, form_url, extra_context)
            return missing
        return redirect("order-page", pk=order.pk)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("lines")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Order], search_term: str) -> Any:
        """Each kind of term has one index: an id, an address, a request id. Anything else is taken as a name.

        ``product:`` and ``customer:`` before an id or a name say what it is of.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        if "\0" in term:
            return queryset.none(), False
        kind, _, rest = (part.strip() for part in term.partition(":"))
        if rest and kind.lower() in PREFIXES:
            return self._by_kind(request, queryset, kind.lower(), rest), False
        if "@" in term:
            return searching.with_email(queryset, term), False
        number = id_of(term)
        if number is not None:
            return queryset.filter(Q(request_id=term) | Q(pk=number)), False
        if Order.objects.filter(request_id=term).exists():
            return queryset.filter(request_id=term), False
        return self._by_name(request, queryset, term), False

    def _by_kind(self, request: HttpRequest, rows: QuerySet[Order], kind: str, text: str) -> QuerySet[Order]:
        try:
            found = PREFIXES[kind](rows, text)
        except CannotFilter as error:
            return complain(request, rows, str(error))
        return rows.none() if found is None else found

    def _by_name(self, request: HttpRequest, rows: QuerySet[Order], text: str) -> QuerySet[Order]:
        names = searching.look_up(text, searching.CUSTOMERS, searching.PRODUCTS)
        if request.method != "GET":  # an action on what was found; its page has other messages
            return names.among(rows)
        if names.unanswered:
            silent = " and ".join(names.unanswered)
            messages.warning(request, f"{silent} did not answer, so there may be more orders with this name.")
        if names.text:
            messages.info(request, f"These are the newest orders of {names.text} with this name.")
        return names.among(rows)

    @display(description="order", ordering="pk")  # type: ignore[untyped-decorator]
    def number(self, order: Order) -> SafeString:
        return linked(reverse("order-page", args=[order.pk]), order.pk)

    @display(description="customer")  # type: ignore[untyped-decorator]
    def customer(self, order: Order) -> SafeString:
        name = order.customer_name or f"user {order.user_id}"
        url = link(USER, f"/admin/user_svc/user/{order.user_id}/change/", order.list_request)  # type: ignore[attr-defined]
        return format_html('<span class="block">{}<br>{}</span>', linked(url, name), order.customer_email or "")

    @display(description="items")  # type: ignore[untyped-decorator]
    def items(self, order: Order) -> SafeString:
        lines = list(order.lines.all())
        named = [f"{line.quantity:,} × {line.name or f'product {line.product_id}'}" for line in lines[:SHOWN_LINES]]
        more = [f"and {len(lines) - SHOWN_LINES} more"] if len(lines) > SHOWN_LINES else []
        text = ", ".join([*named, *more])
        return format_html('<span class="block truncate max-w-48" title="{0}">{0}</span>', text)

    @display(description="total")  # type: ignore[untyped-decorator]
    def shown_total(self, order: Order) -> SafeString:
        return right_aligned("–" if order.total is None else grouped_amount(order.total, order.currency))

    @display(description="placed", ordering="created_at")  # type: ignore[untyped-decorator]
    def placed(self, order: Order) -> SafeString:
        """The age, and the time below it."""
        time = localtime(order.created_at).strftime("%Y-%m-%d %H:%M")
        age = duration_text(now() - order.created_at)
        return format_html('<span class="block whitespace-nowrap">{} ago<br>{}</span>', age, time)

    @display(description="status")  # type: ignore[untyped-decorator]
    def shown_status(self, order: Order) -> SafeString:
        """The status; of a rejected order the reason, too."""
        label = render_to_string("unfold/helpers/label.html", {"text": order.status, "type": _COLOURS[order.status]})
        if order.status != OrderStatus.REJECTED:
            return label
        reason = REASONS.get(order.reason, order.reason or "the reason was not recorded")
        return format_html('<span class="block min-w-32">{}<br>{}</span>', label, reason)

    @admin.action(description="Cancel and release the stock", permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.move(request, queryset, MOVES["cancel"])

    @admin.action(description="Mark as shipped", permissions=["operate"])
    def ship(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.move(request, queryset, MOVES["ship"])

    @admin.action(description="Mark as delivered", permissions=["operate"])
    def deliver(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.move(request, queryset, MOVES["deliver"])

    @admin.action(description="Export as CSV", permissions=["operate"])
    def export(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return ask(request, EXPORT, queryset, result_name="orders.csv")

    @admin.action(description="Export as CSV for Excel", permissions=["operate"])
    def export_for_excel(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return ask(request, EXPORT, queryset, result_name="orders.csv", bom=True)

    def move(self, request: HttpRequest, queryset: Any, move: Move) -> HttpResponse | None:
        """Moves a single order at once. More than one are asked about first, and moved by a job."""
        ids = list(queryset.values_list("pk", flat=True)[:2])
        if len(ids) > 1:
            return ask(request, move.kind, queryset)
        for order_id in ids:
            try:
                order = move.use_case(order_id)
            except PlatformError as error:
                self.message_user(request, f"Order {order_id}: {error.detail}", messages.ERROR)
            else:
                self.log_change(request, order, f"Status changed to {order.status}.")
                self.message_user(request, f"Order {order_id} is {order.status}.", messages.SUCCESS)
        return None
