"""The admin of product-service."""

from datetime import UTC, datetime

import pytest

from platform_core.events.models import Event
from product_svc.models import Product, StockMovement, StockReservation
from tests.admin_pages import *  # noqa: F403
from tests.admin_pages import act, done_job, url
from tests.wire import form_fields

pytestmark = pytest.mark.django_db
SEARCHES = ("lamp", "7")
READ_ONLY = [StockMovement, StockReservation]
FORGED = {"delta": 99, "stock": 99, "status": "released", "type": "x", "key": "x", "reason": "x"}
FORGED |= {"lines-TOTAL_FORMS": 0, "lines-INITIAL_FORMS": 0}
FORM = {"name": "Desk lamp", "description": "", "category": "lights", "sku": "L-1", "price": "49.90", "stock": "5"}


@pytest.fixture
def rows(api, lamp, reserve) -> None:
    """Creates a row in each of the service's own tables."""
    api.post("/api/products", {"name": "Box", "price": 1, "stock": 1})
    reserve(7, {lamp["id"]: 1})


def test_a_product_can_be_added_with_its_stock_in_the_books(admin_client, books_balance):
    assert admin_client.post(url(Product, "add"), FORM).status_code == 302
    product = Product.objects.get()
    assert (product.name, product.stock, product.sku) == ("Desk lamp", 5, "L-1")
    assert books_balance()
    assert Event.objects.get().type == "product.created"


def test_several_products_can_be_added_without_a_sku(admin_client):
    for _ in range(2):
        assert admin_client.post(url(Product, "add"), {**FORM, "sku": ""}).status_code == 302
    assert set(Product.objects.values_list("sku", flat=True)) == {None}


def test_editing_a_product_does_not_touch_its_stock(admin_client, lamp, reserve, books_balance):
    page = url(Product, "change", lamp["id"])
    form = form_fields(admin_client.get(page).content.decode())
    reserve(7, {lamp["id"]: 2})
    assert admin_client.post(page, {**form, "name": "Better lamp", "stock": "99"}).status_code == 302
    product = Product.objects.get()
    assert (product.name, product.stock, product.description) == ("Better lamp", 3, "Bends any way.")
    assert books_balance()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"stock": "-1"}, {"stock": "2147483648"}, {"price": "-1"}, {"price": "0.001"}, {"name": ""}, {"sku": "B-1"}),
        *({"low_stock_threshold": "-1"}, {"low_stock_threshold": "2147483648"}, {"low_stock_threshold": "1.5"}),
    ],
)
def test_the_form_validates_like_the_api(admin_client, add, lamp, wrong):
    add(sku="B-1")
    before = list(Product.objects.values())
    pages = [url(Product, "add")] if "stock" in wrong else [url(Product, "add"), url(Product, "change", lamp["id"])]
    for page in pages:
        answer = admin_client.post(page, {**FORM, "sku": "N-1", **wrong})
        assert answer.status_code == 200
        assert answer.context["errors"]
    assert list(Product.objects.values()) == before


def test_a_product_can_be_deleted_though_it_has_movements_and_reservations(admin_client, api, lamp, reserve):
    reserve(7, {lamp["id"]: 1})
    assert admin_client.get(url(Product, "delete", lamp["id"])).status_code == 200
    assert admin_client.post(url(Product, "delete", lamp["id"]), {"post": "yes"}).status_code == 302
    assert api.get(f"/api/products/{lamp['id']}").status_code == 404
    assert Product.objects.get().deleted_at is not None
    assert Event.objects.first().type == "product.deleted"
    assert api.delete("/api/stock-reservations/7").status_code == 204


def test_several_products_can_be_deleted_together(admin_client, rows):
    answer = act(admin_client, Product, "delete_selected", *Product.objects.all())
    assert "2 products will be deleted." in answer.content.decode()
    assert Product.objects.filter(deleted_at=None).count() == 2
    job = done_job(admin_client)
    assert (job.kind, job.state, job.changed) == ("product.delete", "done", 2)
    assert not Product.objects.filter(deleted_at=None).exists()
    assert Event.objects.filter(type="product.deleted").count() == 2


def test_the_sku_of_a_deleted_product_is_free_in_the_form_too(admin_client, api, lamp):
    api.delete(f"/api/products/{lamp['id']}")
    assert admin_client.post(url(Product, "add"), FORM).status_code == 302


def test_a_deleted_product_is_gone_from_the_admin(admin_client, api, lamp):
    api.delete(f"/api/products/{lamp['id']}")
    assert "Desk lamp" not in admin_client.get(url(Product, "changelist")).content.decode()
    assert admin_client.post(url(Product, "change", lamp["id"]), {**FORM, "stock": "9"}).status_code in (302, 404)
    assert Product.objects.get().stock == 5


@pytest.mark.parametrize("code, listed, edited", [("USD", "1,500.00 USD", "1500.00"), ("JPY", "1,500 JPY", "1500")])
def test_prices_have_the_decimals_of_the_currency(settings, admin_client, add, reserve, code, listed, edited):
    settings.CURRENCY = code
    product = add(price=1500, stock=3)
    reserve(7, {product["id"]: 1})
    assert f">{listed}<" in admin_client.get(url(Product, "changelist")).content.decode()
    assert listed in admin_client.get(url(StockReservation, "change", 7)).content.decode()
    page = url(Product, "change", product["id"])
    form = form_fields(admin_client.get(page).content.decode())
    assert form["price"] == edited
    assert admin_client.post(page, {**form, "name": "Other"}).status_code == 302
    assert Product.objects.get().price == 1500


def test_a_reservation_leads_to_its_order_and_says_when_it_was_released(admin_client, add, reserve):
    reserve(7, {add(price=1, stock=3)["id"]: 1})
    pages = url(StockReservation, "changelist"), url(StockReservation, "change", 7)
    for page in pages:
        html = admin_client.get(page).content.decode()
        assert "/admin/order_svc/order/7/change/" in html
        assert "Reserved" in html and "2020-01-02" not in html
    StockReservation.objects.update(status="released", released_at=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    for page in pages:
        assert "Released 2020-01-02 03:04:05" in admin_client.get(page).content.decode()


def test_a_price_with_more_decimals_than_the_currency_has_is_refused(settings, admin_client):
    settings.CURRENCY = "JPY"
    answer = admin_client.post(url(Product, "add"), {**FORM, "price": "49.90"})
    assert "no more than 0 decimal places" in answer.content.decode()
    assert not Product.objects.exists()
