"""The stock room in the admin. Stock changes only through adjustments, which are movements."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from unfold.admin import TabularInline
from unfold.decorators import display

from platform_core.admin import AmountField, LeanChangeList, PlatformAdmin, ReadOnlyAdmin, amount_column
from platform_core.http import PlatformError, link
from platform_core.jobs import delete_many
from platform_core.topology import ORDER, USER
from platform_core.vocabulary import MAX_ID
from product_svc import services
from product_svc.actors import acting, names_of, user_id_of
from product_svc.admin_files import FilesOfProducts
from product_svc.categories import first_categories
from product_svc.file_jobs import DELETE
from product_svc.models import Product, ReservationLine, StockMovement, StockReservation
from product_svc.search import search_products
from product_svc.stock_levels import MAX_STOCK, SOLD_OUT, level_of
from product_svc.stock_room import AdjustmentForm, AlreadyMade, adjust, blank_form

LATEST = 15
"""The number of movements on a product's page."""
_BOUNDS: dict[str, dict[str, Any]] = {
    "price": {"form_class": AmountField, "min_value": 0},
    "stock": {"min_value": 0, "max_value": MAX_STOCK},
    "low_stock_threshold": {"min_value": 0, "max_value": MAX_STOCK},
}


def threshold_of(product: Product) -> int:
    """The number of pieces at which the product's stock is low."""
    own = product.low_stock_threshold
    return settings.LOW_STOCK if own is None else own


class StockFilter(admin.SimpleListFilter):
    title = "stock"
    parameter_name = "stock"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return ("low", "Low or sold out"), ("out", "Sold out")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> QuerySet[Product]:
        if self.value() == "out":
            return queryset.filter(stock_level=SOLD_OUT)
        if self.value() == "low":
            most = settings.LOW_STOCK
            by_shop = Q(low_stock_threshold=None, stock_level__lte=level_of(most), stock__lte=most)
            by_product = Q(low_stock_threshold__isnull=False, stock__lte=F("low_stock_threshold"))
            return queryset.filter(by_shop | by_product)
        return queryset


class CategoryFilter(admin.SimpleListFilter):
    """Offers the first categories. The search finds the others."""

    title = "category"
    parameter_name = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(category, category) for category in first_categories()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Product]) -> QuerySet[Product]:
        chosen = (self.value() or "").replace("\0", "")
        return queryset.filter(category__alike=chosen) if chosen else queryset


class ProductFilter(admin.SimpleListFilter):
    """Movements of one product. A product's page leads here; the filter offers no others."""

    title = "product"
    parameter_name = "product"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        names = Product.objects.filter(pk=self.chosen).values_list("name", flat=True) if self.chosen else ()
        return [(str(self.chosen), name) for name in names]

    @property
    def chosen(self) -> int:
        """The product's id; 0 if there is none, or no id that a product can have."""
        value = self.value() or ""
        return int(value) if value.isascii() and value.isdigit() and int(value) <= MAX_ID else 0

    def queryset(self, request: HttpRequest, queryset: QuerySet[StockMovement]) -> QuerySet[StockMovement]:
        return queryset.filter(product_id=self.chosen) if self.value() else queryset


PRICE = amount_column("price")


@admin.register(Product)
class ProductAdmin(FilesOfProducts, PlatformAdmin):
    """Changes go through the use cases, so that they write events. The stock of a new product is its first movement."""

    list_display = ("name", "sku", "category", PRICE, "shown_stock", "created_at")
    list_filter = (StockFilter, CategoryFilter)
    search_fields = ("text",)
    search_help_text = "words of name, sku, category or description"
    sortable_by = ("name", PRICE, "shown_stock")
    actions = ("delete_selected",)
    change_form_outer_before_template = "product_svc/adjustment_panel.html"
    change_form_outer_after_template = "product_svc/movements_panel.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LeanChangeList]:
        return ProductList

    class Media:
        css = {"all": ("product_svc/stock_room.css",)}

    def get_fieldsets(self, request: HttpRequest, obj: Product | None = None) -> Any:
        """All editable fields. The stock of an existing product is in the panel above."""
        editable = [field.name for field in self.opts.fields if field.editable and not field.primary_key]
        catalog = sorted(editable, key=lambda name: name == "description")
        for name in ("stock", "low_stock_threshold"):
            catalog.remove(name)
        catalog_fields = (None, {"fields": catalog})
        if obj is None:
            return catalog_fields, ("Stock", {"fields": ("stock", "low_stock_threshold")})
        times = ("Times", {"fields": ("created_at", "updated_at", "version")})
        return catalog_fields, ("Stock", {"fields": ("low_stock_threshold",)}), times

    @admin.action(description="Delete selected products", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Asks about a single product as Django does. More than one are deleted by a job."""
        return delete_many(self, request, queryset, DELETE)

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> Any:
        return () if obj is None else ("created_at", "updated_at", "version")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(deleted_at=None)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_dbfield(db_field, request, **kwargs, **_BOUNDS.get(db_field.name, {}))

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Product], search_term: str) -> Any:
        if not search_term:
            return queryset, False
        return search_products(queryset, search_term), False

    @display(description="stock", ordering="stock")  # type: ignore[untyped-decorator]
    def shown_stock(self, product: Product) -> SafeString | str:
        if product.stock > threshold_of(product):
            return f"{product.stock:,}"
        word = "low" if product.stock else "sold out"
        return format_html('{} <span class="stock-mark">{}</span>', f"{product.stock:,}" if product.stock else "", word)

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        with acting(request.user):
            if change:
                services.update_product(obj.pk, None, **values)
            else:
                obj.pk = services.create_product(**values).pk

    def delete_model(self, request: HttpRequest, obj: Product) -> None:
        services.delete_product(obj.pk, None)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for product in queryset:
            services.delete_product(product.pk, None)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Allows deletion although other rows refer to the product, because it is only marked as deleted."""
        return [str(obj) for obj in objs], {"products": len(objs)}, set(), []

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.adjustment_view)
        return [path("<int:product_id>/adjust/", view, name="product_svc_product_adjust"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        product = kwargs.get("obj")
        if product is not None:
            may_change = self.has_change_permission(request, product)
            context["stock"] = self.stock_context(product, blank_form(product) if may_change else None)
            context["movements"] = self.latest_movements(request, product)
        answer: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return answer

    def stock_context(self, product: Product, form: AdjustmentForm | None, problem: str = "") -> dict[str, Any]:
        return {
            "product": product,
            "form": form,
            "problem": problem,
            "threshold": threshold_of(product),
            "is_own_threshold": product.low_stock_threshold is not None,
            "is_low": product.stock <= threshold_of(product),
        }

    def latest_movements(self, request: HttpRequest, product: Product) -> dict[str, Any]:
        rows = list(StockMovement.objects.filter(product=product)[:LATEST])
        add_names_and_links(request, rows)
        every = f"{reverse('admin:product_svc_stockmovement_changelist')}?{ProductFilter.parameter_name}={product.pk}"
        return {"rows": rows, "every": every}

    def adjustment_view(self, request: HttpRequest, product_id: int) -> HttpResponse:
        """Adjusts the stock and returns to the product's page. Shows the form again if it cannot."""
        product = self.get_object(request, str(product_id)) if product_id <= MAX_ID else None
        if product is None:
            raise Http404(f"There is no product {product_id}.")
        if not self.has_change_permission(request, product):
            raise PermissionDenied
        if request.method != "POST":
            return self.adjustment_page(request, product, blank_form(product))
        form = AdjustmentForm(request.POST, prefix="stock")
        if not form.is_valid():
            return self.adjustment_page(request, product, form)
        try:
            with acting(request.user):
                done = adjust(product.pk, **form.cleaned_data)
        except AlreadyMade:
            messages.info(request, "This adjustment was sent twice and was made once.")
        except PlatformError as error:
            product.refresh_from_db(fields=["stock"])
            entered = {name: form.cleaned_data[name] for name in ("how", "number", "reason", "note")}
            return self.adjustment_page(request, product, blank_form(product, **entered), error.detail)
        else:
            self.log_change(request, product, f"{done} ({form.cleaned_data['reason']})")
            messages.success(request, done)
        return HttpResponseRedirect(reverse("admin:product_svc_product_change", args=[product.pk]))

    def adjustment_page(
        self, request: HttpRequest, product: Product, form: AdjustmentForm, problem: str = ""
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Adjust the stock of {product}",
            "media": self.media,
            "original": product,
            "stock": self.stock_context(product, form, problem),
        }
        return TemplateResponse(request, "product_svc/adjustment_page.html", context)


def add_names_and_links(request: HttpRequest, movements: Iterable[StockMovement]) -> None:
    """Add to each movement what its row shows: the actor by name, and the addresses of actor and order."""
    rows: list[Any] = list(movements)
    names = names_of(row.actor for row in rows)
    for row in rows:
        user_id = user_id_of(row.actor)
        row.actor_name = names.get(row.actor, "")
        row.actor_url = link(USER, f"/admin/user_svc/user/{user_id}/change/", request) if user_id else ""
        row.order_url = link(ORDER, f"/admin/order_svc/order/{row.order_id}/change/", request) if row.order_id else ""


class ProductList(LeanChangeList):
    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Puts the level before the stock, which has no index of its own."""
        ordering: list[Any] = super().get_ordering(request, queryset)
        levels = {"stock": "stock_level", "-stock": "-stock_level"}
        return [each for column in ordering for each in ([levels[column]] if column in levels else []) + [column]]


class MovementList(LeanChangeList):
    """Looks up the names of all actors of the page at once."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[StockMovement] = list(self.result_list)
        add_names_and_links(request, rows)
        self.result_list = rows


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "product_link", "change", "stock", "kind", "reason", "note", "by", "order")
    list_filter = (ProductFilter, "kind", "created_at")
    list_select_related = ("product",)
    search_fields = ("product_id", "order_id")
    search_help_text = "product id or order id"
    fields = ("created_at", "product_link", "change", "stock", "kind", "reason", "note", "by", "order")
    sortable_by = ()

    class Media:
        css = {"all": ("product_svc/stock_room.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LeanChangeList]:
        return MovementList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        movement = super().get_object(request, object_id, from_field)
        if movement is not None:
            add_names_and_links(request, [movement])
        return movement

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    @display(description="product")  # type: ignore[untyped-decorator]
    def product_link(self, movement: StockMovement) -> SafeString:
        url = reverse("admin:product_svc_product_change", args=[movement.product_id])
        return format_html('<a class="stock-link" href="{}">{}</a>', url, movement.product)

    @display(description="change")  # type: ignore[untyped-decorator]
    def change(self, movement: StockMovement) -> str:
        return f"{movement.delta:+,}"

    @display(description="by")  # type: ignore[untyped-decorator]
    def by(self, movement: Any) -> SafeString | str:
        return _linked(movement.actor_url, movement.actor_name)

    @display(description="order")  # type: ignore[untyped-decorator]
    def order(self, movement: Any) -> SafeString | str:
        return _linked(movement.order_url, movement.order_id)


def _linked(url: str, text: Any) -> SafeString | str:
    return format_html('<a class="stock-link" href="{}">{}</a>', url, text) if url else str(text or "–")


class ReservationLineInline(TabularInline):  # type: ignore[misc]
    model = ReservationLine
    extra = 0
    can_delete = False
    fields = readonly_fields = ("product", "name", amount_column("unit_price"), "quantity")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(StockReservation)
class StockReservationAdmin(ReadOnlyAdmin):
    list_display = ("order_id", "shown_status", "created_at", "order")
    list_filter = ("status",)
    search_fields = ("order_id",)
    search_help_text = "order id"
    sortable_by = ("order_id",)
    fields = readonly_fields = ("order", "shown_status", "created_at")
    inlines = (ReservationLineInline,)

    class Media:
        css = {"all": ("product_svc/stock_room.css",)}

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """One reservation, with the request, for the link to its order."""
        reservation = super().get_object(request, object_id, from_field)
        if reservation is not None:
            reservation.list_request = request
        return reservation

    @display(description="status")  # type: ignore[untyped-decorator]
    def shown_status(self, reservation: StockReservation) -> str:
        """The status; of a released reservation the time of the release, too."""
        status = reservation.get_status_display()
        released = reservation.released_at
        return f"{status} {localtime(released):%Y-%m-%d %H:%M:%S}" if released else status

    @display(description="order")  # type: ignore[untyped-decorator]
    def order(self, reservation: Any) -> SafeString | str:
        url = link(ORDER, f"/admin/order_svc/order/{reservation.pk}/change/", reservation.list_request)
        return _linked(url, f"Order {reservation.pk}")
