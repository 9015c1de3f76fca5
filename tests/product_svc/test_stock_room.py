"""The stock room in the admin: adjustments by hand, who moved the stock, low stock, categories."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from platform_core.auth import shadow_name
from platform_core.models import IdempotencyKey
from platform_core.topology import ORDER, PRODUCT
from platform_core.vocabulary import Role
from product_svc.actors import acting
from product_svc.models import Product, StockMovement
from product_svc.services import adjust_stock
from tests import people
from tests.admin_pages import said, url
from tests.wire import form_fields

pytestmark = pytest.mark.django_db


def panel(answer) -> dict[str, str]:
    """The fields of the adjustment form on a page."""
    text = answer.content.decode()
    (form,) = re.findall(r'<form[^>]*class="stock-form".*?</form>', text, re.DOTALL)
    return form_fields(form)


@pytest.fixture
def page(lamp) -> str:
    return url(Product, "change", lamp["id"])


@pytest.fixture
def send(admin_client, lamp, page):
    """Fills in the form of the product's page as it was opened, and sends it."""

    def send(form=None, **entered):
        form = panel(admin_client.get(page)) if form is None else form
        filled = {**form, **{f"stock-{name}": value for name, value in entered.items()}}
        return admin_client.post(f"/admin/product_svc/product/{lamp['id']}/adjust/", filled, follow=True)

    return send


@pytest.mark.parametrize("number, left, words", [("3", 8, "3 pieces added"), ("-1", 4, "1 piece removed")])
def test_stock_is_adjusted_by_a_number_with_reason_and_note(send, lamp, stock, books_balance, number, left, words):
    answer = send(how="by", number=number, reason="received", note="half of it")
    assert said(answer) == [f"{words}. The stock is {left} now."]
    assert stock(lamp) == left
    movement = StockMovement.objects.first()
    assert (movement.delta, movement.kind, movement.reason) == (int(number), "adjustment", "received")
    assert (movement.note, movement.actor) == ("half of it", "local:admin")
    assert books_balance()


def test_stock_is_set_to_a_counted_number(send, lamp, stock, books_balance):
    assert said(send(how="to", number="2", reason="counted")) == ["3 pieces removed. The stock is 2 now."]
    assert StockMovement.objects.first().delta == -3
    assert (stock(lamp), books_balance()) == (2, True)


def test_a_count_from_a_page_that_is_out_of_date_changes_nothing_and_says_so(
    admin_client, send, lamp, page, reserve, stock
):
    form = panel(admin_client.get(page))
    reserve(7, {lamp["id"]: 2})
    answer = send(form, how="to", number="5", reason="counted", note="shelf 3")
    text = answer.content.decode()
    assert "The stock was 5 when this page was opened, and is 3 now. Nothing was changed." in text
    assert stock(lamp) == 3
    again = panel(answer)
    assert (again["stock-number"], again["stock-note"], again["stock-seen"]) == ("5", "shelf 3", "3")
    assert said(send(again, how="to", reason="counted")) == ["2 pieces added. The stock is 5 now."]


def test_pieces_may_be_added_while_orders_take_others(admin_client, send, lamp, page, reserve, stock):
    form = panel(admin_client.get(page))
    reserve(7, {lamp["id"]: 2})
    send(form, how="by", number="10", reason="received")
    assert stock(lamp) == 13


def test_a_form_that_is_sent_twice_counts_once(admin_client, send, lamp, page, stock):
    form = panel(admin_client.get(page))
    for _ in range(2):
        answer = send(form, how="by", number="10", reason="received")
    assert said(answer) == ["This adjustment was sent twice and was made once."]
    assert stock(lamp) == 15
    assert IdempotencyKey.objects.count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": "0"},
        {"number": ""},
        {"number": "1.5"},
        {"number": "-6"},
        {"number": "2147483648"},
        {"how": "to", "number": "-1"},
        {"reason": ""},
        {"reason": "weather"},
        {"note": "x" * 501},
        {"key": "no key"},
        {"seen": ""},
    ],
)
def test_anything_else_is_refused_and_keeps_what_was_entered(send, lamp, stock, wrong):
    answer = send(**{"how": "by", "number": "2", "reason": "damaged", "note": "kept", **wrong})
    assert answer.status_code == 200
    if not {"note", "key", "seen"} & wrong.keys():
        assert 'role="alert"' in answer.content.decode()
    assert panel(answer)["stock-note"] == wrong.get("note", "kept")
    assert stock(lamp) == 5
    assert StockMovement.objects.count() == 1


def test_a_count_that_finds_the_same_writes_no_movement(send, lamp):
    assert said(send(how="to", number="5", reason="counted")) == ["The stock is as counted. Nothing was changed."]
    assert StockMovement.objects.count() == 1


def test_a_product_that_is_not_there_is_404(admin_client, api, lamp):
    api.delete(f"/api/products/{lamp['id']}")
    for pk in (lamp["id"], "0", "9" * 30):
        assert admin_client.get(f"/admin/product_svc/product/{pk}/adjust/").status_code == 404
        assert admin_client.post(f"/admin/product_svc/product/{pk}/adjust/", {}).status_code == 404


def test_whoever_may_only_look_has_no_form(client, lamp, page, stock):
    user = User.objects.create(username=shadow_name(8), is_staff=True, first_name="Olga")
    user.groups.create(name=Role.ORDERS)
    client.force_login(user, backend="platform_core.auth.staff.StaffBackend")
    answer = client.get(page)
    assert answer.status_code == 200 and "stock-form" not in answer.content.decode()
    assert "Movements" in answer.content.decode()
    sent = {"stock-how": "by", "stock-number": "5", "stock-reason": "received"}
    assert client.post(f"/admin/product_svc/product/{lamp['id']}/adjust/", sent).status_code == 403
    assert stock(lamp) == 5


@pytest.mark.usefixtures("known_callers")
def test_every_way_to_move_stock_names_its_actor(api, lamp, load, admin_client):
    def last():
        return StockMovement.objects.order_by("-id").values_list("kind", "actor")[0]

    staff = people.as_user(7, Role.CATALOG)
    service = people.as_service(ORDER, PRODUCT)
    pk = lamp["id"]
    api.post("/api/products", {"name": "Box", "price": 1, "stock": 1}, headers=staff)
    assert last() == ("initial", "user:7")
    api.post("/api/products/bulk", {"items": [{"name": "Box", "price": 1, "stock": 1}]}, headers=staff)
    assert last() == ("initial", "user:7")
    api.post(f"/api/products/{pk}/stock-adjustments", {"delta": 1}, headers=staff)
    assert last() == ("adjustment", "user:7")
    api.patch(f"/api/products/{pk}", {"stock": 9}, headers=staff)
    assert last() == ("adjustment", "user:7")
    api.put("/api/stock-reservations/5", {"items": [{"productId": pk, "quantity": 1}]}, headers=service)
    assert last() == ("reservation", "service:order-service")
    api.delete("/api/stock-reservations/5", headers=service)
    assert last() == ("release", "service:order-service")
    load("sku,name,price,stock\nL-2,Lamp,12.5,77\n")
    assert last() == ("initial", "command")
    load("sku,name,price,stock\nL-1,Lamp,12.5,70\n")
    assert last() == ("adjustment", "command")
    api.post("/api/products", {"name": "Box", "price": 1, "stock": 1})
    assert last() == ("initial", "anonymous")
    form = {"name": "Chair", "price": "5", "stock": "2", "description": "", "category": "", "sku": ""}
    assert admin_client.post(url(Product, "add"), form).status_code == 302
    assert last() == ("initial", "local:admin")


@pytest.mark.usefixtures("known_callers")
def test_the_api_shows_actor_and_note(api, lamp):
    path = f"/api/products/{lamp['id']}/stock-adjustments"
    made = api.post(path, {"delta": 2, "reason": "returned", "note": "by Ann"}, headers=people.as_user(7, Role.ADMIN))
    assert (made.json()["actor"], made.json()["note"]) == ("user:7", "by Ann")
    assert api.get(path).json()["results"][0] == made.json()


def test_the_page_shows_movements_with_names_and_links(admin_client, lamp, page, reserve, settings):
    settings.PUBLIC_URLS = {**settings.PUBLIC_URLS, "order-service": "https://orders.example"}
    user = User.objects.create(username=shadow_name(8), is_staff=True, first_name="Olga <b>")
    with acting(user):
        adjust_stock(int(lamp["id"]), 4, "returned", "unopened")
    reserve(7, {lamp["id"]: 2})
    text = admin_client.get(page).content.decode()
    assert "Olga &lt;b&gt;</a>" in text and "/admin/user_svc/user/8/change/" in text
    assert 'href="https://orders.example/admin/order_svc/order/7/change/">Order 7</a>' in text
    assert "unopened" in text and "Adjustment: returned" in text
    listed = admin_client.get(f"{url(StockMovement, 'changelist')}?product={lamp['id']}").content.decode()
    assert "https://orders.example/admin/order_svc/order/7/change/" in listed and "Olga &lt;b&gt;</a>" in listed
    assert f"?product={lamp['id']}" in text


def test_a_list_of_movements_looks_names_up_at_once(admin_client, lamp):
    for number in range(8):
        user = User.objects.create(username=shadow_name(number), is_staff=True, first_name=f"U{number}")
        with acting(user):
            adjust_stock(int(lamp["id"]), 1)
    with CaptureQueriesContext(connection) as captured:
        assert "U7" in admin_client.get(url(StockMovement, "changelist")).content.decode()
    assert sum("first_name" in each["sql"] and "staff:" in each["sql"] for each in captured) == 1


def test_movements_of_the_version_before_have_no_actor(admin_client, lamp, page):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO product_svc_stockmovement (product_id, delta, stock, kind, reason, created_at) "
            "VALUES (%s, 1, 6, 'adjustment', 'x', now())",
            [lamp["id"]],
        )
    movement = StockMovement.objects.first()
    assert (movement.actor, movement.note) == ("", "")
    assert admin_client.get(page).status_code == 200


def names(admin_client, query: str) -> list[str]:
    return [product.name for product in admin_client.get(url(Product, "changelist") + query).context["cl"].result_list]


def test_low_stock_is_by_the_products_threshold_or_the_shops(admin_client, add, settings):
    settings.LOW_STOCK = 3
    for name, stock, threshold in (
        *(("few", 3, None), ("enough", 4, None), ("own low", 20, 20), ("own enough", 2, 1)),
        *(("never low", 1, 0), ("none", 0, None), ("none of its own", 0, 0)),
    ):
        add(name=name, stock=stock, lowStockThreshold=threshold)
    assert set(names(admin_client, "?stock=low")) == {"few", "own low", "none", "none of its own"}
    assert set(names(admin_client, "?stock=out")) == {"none", "none of its own"}


def test_categories_are_offered_and_filter_without_case(admin_client, api, add):
    for number, category in enumerate(("lights", "Lights", "books", "", "zoo")):
        add(name=f"P{number}", category=category)
    api.delete(f"/api/products/{Product.objects.get(name='P4').pk}")
    spec = admin_client.get(url(Product, "changelist")).context["cl"].filter_specs[1]
    assert [value for value, _ in spec.lookup_choices] == ["books", "lights"]
    assert set(names(admin_client, "?category=LIGHTS")) == {"P0", "P1"}
    assert names(admin_client, "?category=%00") == names(admin_client, "")


def test_at_most_thirty_categories_are_offered(admin_client, add):
    for number in range(32):
        add(category=f"c{number:02}")
    spec = admin_client.get(url(Product, "changelist")).context["cl"].filter_specs[1]
    assert len(spec.lookup_choices) == 30


@pytest.mark.parametrize("threshold", [0, 5, 2147483647, None])
def test_the_threshold_is_part_of_a_product(api, lamp, load, threshold):
    path = f"/api/products/{lamp['id']}"
    assert lamp["lowStockThreshold"] is None
    assert api.patch(path, {"lowStockThreshold": threshold}).json()["lowStockThreshold"] == threshold
    assert api.patch(path, {"name": "Other"}).json()["lowStockThreshold"] == threshold
    assert api.get("/api/products").json()["results"][0]["lowStockThreshold"] == threshold
    assert api.put(path, {"name": "Other", "price": 1}).json()["lowStockThreshold"] is None
    item = {"name": "x", "price": 1, "lowStockThreshold": threshold}
    made = api.post("/api/products/bulk", {"items": [item]}).json()["results"][0]
    assert made["lowStockThreshold"] == threshold
    shown = "" if threshold is None else threshold
    load(f"sku,name,price,lowStockThreshold\nL-1,Lamp,12.5,{shown}\n")
    assert Product.objects.get(sku="L-1").low_stock_threshold == threshold


@pytest.mark.parametrize("wrong", [-1, 2147483648, 1.5, "x", True, []])
def test_another_threshold_is_refused(api, wrong):
    answer = api.post("/api/products", {"name": "x", "price": 1, "lowStockThreshold": wrong})
    assert answer.status_code == 400 and answer.json()["errors"][0]["field"] == "lowStockThreshold"
