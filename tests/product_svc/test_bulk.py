"""POST /api/products/bulk."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from platform_core.events.models import Event
from platform_core.vocabulary import Role
from product_svc.models import Product, StockMovement
from tests import people
from tests.wire import BRACKETS, assert_problem, at_once

pytestmark = pytest.mark.django_db
BULK = "/api/products/bulk"


def lamps(count: int, **values):
    return [{"name": f"Lamp {n}", "price": n, "stock": n % 3, "sku": f"L-{n}", **values} for n in range(count)]


def post(api, items, **headers):
    return api.post(BULK, {"items": items}, headers=headers)


def nothing_is_there() -> bool:
    return not (Product.objects.exists() or StockMovement.objects.exists() or Event.objects.exists())


def test_it_answers_201_with_the_products_in_the_order_of_the_items(api):
    answer = post(api, lamps(3)[::-1])
    assert answer.status_code == 201
    results = answer.json()["results"]
    assert [product["sku"] for product in results] == ["L-2", "L-1", "L-0"]
    assert [api.get(f"/api/products/{product['id']}").json() for product in results] == results
    assert [product["sku"] for product in api.get("/api/products").json()["results"]] == ["L-0", "L-1", "L-2"]


def test_a_product_is_what_it_would_be_if_it_were_added_alone(api):
    item = {"name": " Lamp ", "price": "49.9", "stock": 3, "sku": " A "}
    alone = api.post("/api/products", {**item, "sku": "B"}).json()
    (among_many,) = post(api, [item]).json()["results"]
    differing = {"id", "sku", "createdAt", "updatedAt"}
    assert alone.keys() == among_many.keys()
    assert {k: v for k, v in alone.items() if k not in differing} == {
        k: v for k, v in among_many.items() if k not in differing
    }
    one, other = Event.objects.order_by("id").values_list("type", "data")
    one[1].pop("createdAt"), other[1].pop("createdAt")
    assert one == other
    one, other = StockMovement.objects.order_by("id").values_list("delta", "kind", "reason", "stock")
    assert one == other


def test_stock_is_the_sum_of_movements_and_the_feed_tells_each_product(api, books_balance):
    results = post(api, lamps(20)).json()["results"]
    assert books_balance()
    assert StockMovement.objects.count() == sum(product["stock"] > 0 for product in results)
    events = Event.objects.filter(type="product.created").order_by("id").values_list("subject", flat=True)
    assert list(events) == [product["id"] for product in results]


def test_a_thousand_are_taken_and_cost_as_many_queries_as_one(api):
    counts = []
    for items in (lamps(1, sku=None, stock=1), lamps(1000)):
        with CaptureQueriesContext(connection) as captured:
            assert post(api, items).status_code == 201
        counts.append(len([query for query in captured if not query["sql"].startswith(BRACKETS)]))
    assert counts == [4, 4]
    assert Product.objects.count() == 1001


@pytest.mark.parametrize("items", [[], None, {}, "x", 5, lamps(1001)], ids=repr)
def test_what_is_no_list_of_1_to_1000_is_refused(api, items):
    assert_problem(post(api, items), 400, "invalid", ["items"])
    assert nothing_is_there()


def test_without_items_it_is_refused(api):
    assert_problem(api.post(BULK, {}), 400, "invalid", ["items"])


def test_errors_name_the_items_by_index_and_nothing_is_kept(api):
    items = [*lamps(2), {"name": "", "price": 1}, {"name": "Box", "price": -1, "stock": "x"}, 7]
    named = ["items[2].name", "items[3].price", "items[3].stock", "items[4]"]
    assert_problem(post(api, items), 400, "invalid", named)
    assert nothing_is_there()


def test_a_taken_or_repeated_sku_is_reported_by_index_and_nothing_is_stored(api, lamp):
    before = Event.objects.count()
    items = [{"name": "Lamp", "price": 1, "sku": sku} for sku in ("A", " L-1 ", "B", None, "A", "", "A")]
    errors = assert_problem(post(api, items), 409, "sku_taken", ["items[1].sku", "items[4].sku", "items[6].sku"])
    assert {error["code"] for error in errors} == {"sku_taken"}
    assert "items[0]" in errors[1]["detail"]
    assert Product.objects.count() == 1
    assert Event.objects.count() == before


def test_the_sku_of_a_deleted_product_is_free(api, lamp):
    api.delete(f"/api/products/{lamp['id']}")
    assert post(api, [{"name": "Lamp", "price": 1, "sku": "L-1"}]).status_code == 201


def test_a_browser_gets_a_page_to_send_the_items_from(api):
    page = api.client.get(BULK, headers={"Accept": "text/html"})
    assert page.status_code == 405
    assert "<textarea" in page.content.decode()


def test_with_a_key_it_is_done_once(api):
    first = post(api, lamps(3), **{"Idempotency-Key": "k"})
    again = post(api, lamps(3), **{"Idempotency-Key": "k"})
    assert (again.status_code, again.content) == (201, first.content)
    assert again["Idempotent-Replayed"] == "true"
    assert Product.objects.count() == 3
    assert_problem(post(api, lamps(2), **{"Idempotency-Key": "k"}), 422, "idempotency_key_reused")


def test_with_a_key_a_refusal_is_kept_too(api, lamp):
    items = [{"name": "Lamp", "price": 1, "sku": "L-1"}]
    first = post(api, items, **{"Idempotency-Key": "k"})
    assert_problem(first, 409, "sku_taken", ["items[0].sku"])
    api.delete(f"/api/products/{lamp['id']}")
    assert post(api, items, **{"Idempotency-Key": "k"}).json()["errors"] == first.json()["errors"]


def test_a_body_over_1_mib_is_refused(send):
    body = json.dumps({"items": lamps(300, description="x" * 4000)})
    assert_problem(send("POST", BULK, body), 413, "too_large")
    assert nothing_is_there()


@pytest.mark.usefixtures("known_callers")
@pytest.mark.parametrize("role, status", [(Role.CATALOG, 201), (Role.ADMIN, 201), (Role.ORDERS, 403)])
def test_only_the_catalog_role_may_add_in_bulk(api, settings, role, status):
    settings.PLATFORM_ENV = "production"
    assert post(api, lamps(1), **people.as_user(9, role)).status_code == status
    assert post(api, lamps(1)).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_one_of_many_concurrent_bulk_requests_succeeds_and_the_others_get_409(api, books_balance):
    forwards, backwards = lamps(200), lamps(200)[::-1]
    answers = at_once([lambda items=items: post(api, items) for items in (forwards, backwards) * 3])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert {len(answer.json()["errors"]) for answer in answers if answer.status_code == 409} == {200}
    assert Product.objects.count() == Event.objects.count() == 200
    assert books_balance()
