"""PUT and PATCH /api/products/{id}."""

import pytest

from platform_core.events.models import Event
from product_svc.models import StockMovement
from tests.wire import assert_problem, at_once

pytestmark = pytest.mark.django_db
BOX = {"name": "Box", "price": "1.50"}


@pytest.fixture
def url(lamp) -> str:
    return f"/api/products/{lamp['id']}"


def test_put_replaces_the_whole_but_the_stock_stays(api, lamp, url):
    answer = api.put(url, BOX)
    assert answer.status_code == 200
    assert answer["ETag"] == '"2"'
    changed = answer.json()
    emptied = {"description": "", "category": "", "sku": None, "price": 1.5}
    assert changed == {**lamp, **BOX, **emptied, "updatedAt": changed["updatedAt"]}
    assert changed["stock"] == 5
    assert changed["updatedAt"] > lamp["updatedAt"]
    assert api.get(url).json() == changed
    assert StockMovement.objects.count() == 1


@pytest.mark.parametrize("missing", ["name", "price"])
def test_put_requires_name_and_price(api, lamp, url, missing):
    assert_problem(api.put(url, {k: v for k, v in BOX.items() if k != missing}), 400, "invalid", [missing])
    assert api.get(url).json() == lamp


@pytest.mark.parametrize(
    "part", [{"name": "New"}, {"price": 0}, {"description": ""}, {"category": "x"}, {"sku": None}, {"sku": "L-1"}, {}]
)
def test_patch_changes_a_part_and_leaves_the_rest(api, lamp, url, part):
    answer = api.patch(url, part)
    assert answer.status_code == 200
    assert answer.json() == {**lamp, **part, "updatedAt": answer.json()["updatedAt"]}
    assert api.get(url).content == answer.content


@pytest.mark.parametrize("method, body", [("put", BOX), ("patch", {})])
@pytest.mark.parametrize("stock, deltas", [(9, [4]), (0, [-5]), (5, []), (2147483647, [2147483642])])
def test_a_stock_that_is_set_is_recorded_as_an_adjustment(api, url, books_balance, method, body, stock, deltas):
    answer = getattr(api, method)(url, {**body, "stock": stock})
    assert answer.status_code == 200
    assert answer.json()["stock"] == api.get(url).json()["stock"] == stock
    assert answer["ETag"] == api.get(url)["ETag"] == '"2"'
    adjustments = StockMovement.objects.filter(kind="adjustment")
    assert [movement.delta for movement in adjustments] == deltas
    assert books_balance()
    assert Event.objects.filter(type="stock.changed").count() == len(deltas)


@pytest.mark.parametrize("method", ["put", "patch"])
@pytest.mark.parametrize(
    "part",
    [
        *({"name": ""}, {"name": None}, {"price": -1}, {"price": None}, {"price": 0.001}, {"price": True}),
        *({"stock": -1}, {"stock": None}, {"stock": 1.5}, {"stock": 2147483648}, {"stock": "x"}, {"sku": 5}),
    ],
)
def test_updates_have_the_same_validation_as_creation(api, lamp, url, method, part):
    body = {**BOX, **part} if method == "put" else part
    assert_problem(getattr(api, method)(url, body), 400, "invalid", part)
    assert api.get(url).json() == lamp


@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_sku_that_another_one_has_is_refused_and_the_stock_stays(api, add, lamp, url, method):
    add(sku="B-1")
    answer = getattr(api, method)(url, {**BOX, "sku": "B-1", "stock": 99})
    assert_problem(answer, 409, "sku_taken")
    assert api.get(url).json() == lamp
    assert StockMovement.objects.count() == 1


@pytest.mark.parametrize("method", ["put", "patch"])
def test_read_only_fields_cannot_be_changed(api, lamp, url, method):
    answered = {"id": "77", "createdAt": "2001-01-01T00:00:00Z", "updatedAt": None}
    unknown = {"version": 50, "deletedAt": "2001-01-01T00:00:00Z", "deleted_at": "2001-01-01T00:00:00Z"}
    assert_problem(getattr(api, method)(url, {**BOX, **answered, **unknown}), 400, "invalid", unknown)
    answer = getattr(api, method)(url, {**BOX, **answered})
    assert answer.json()["id"] == lamp["id"]
    assert answer.json()["createdAt"] == lamp["createdAt"]
    assert answer["ETag"] == '"2"'
    assert api.get(url).status_code == 200


@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_stale_if_match_is_refused(api, lamp, url, method):
    answer = getattr(api, method)(url, {**BOX, "stock": 1}, headers={"If-Match": '"2"'})
    assert_problem(answer, 412, "precondition_failed")
    assert api.get(url).json() == lamp
    assert getattr(api, method)(url, BOX, headers={"If-Match": '"1"'}).status_code == 200


def test_a_sale_makes_an_if_match_stale(api, lamp, url, reserve):
    reserve(1, {lamp["id"]: 1})
    assert_problem(api.patch(url, {"stock": 5}, headers={"If-Match": '"1"'}), 412, "precondition_failed")


def test_a_deleted_product_is_not_found(api, url):
    api.delete(url)
    assert_problem(api.put(url, BOX), 404, "not_found")
    assert_problem(api.patch(url, {}, headers={"If-Match": '"1"'}), 404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_one_of_many_concurrent_changes_of_a_version_succeeds(api, url, books_balance):
    answers = at_once(lambda n=n: api.patch(url, {"stock": n}, headers={"If-Match": '"1"'}) for n in range(10, 18))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert books_balance()


@pytest.mark.django_db(transaction=True)
def test_stock_that_is_set_sold_and_adjusted_at_the_same_moment_stays_in_the_books(
    api, lamp, url, reserve, books_balance
):
    calls = [lambda n=n: api.patch(url, {"stock": 50 + n}) for n in range(4)]
    calls += [lambda n=n: reserve(n, {lamp["id"]: 1}) for n in range(4)]
    calls += [lambda: api.post(f"{url}/stock-adjustments", {"delta": 3})] * 4
    answers = at_once(calls)
    assert all(answer.status_code in (200, 201) for answer in answers), [answer.content for answer in answers]
    assert books_balance()
