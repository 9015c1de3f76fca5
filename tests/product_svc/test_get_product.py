"""GET /api/products/{id}."""

import pytest

from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
NO_IDS = ["0", "9223372036854775808", "abc"]  # the library's suite tries the others


def test_it_returns_a_product(api, lamp):
    answer = api.get(f"/api/products/{lamp['id']}")
    assert answer.json() == lamp
    assert answer["ETag"] == '"1"'
    assert b'"price":49.90' in answer.content
    assert api.get(f"/api/products/{lamp['id']}/").content == answer.content


@pytest.mark.parametrize(("age", "expected"), [(0, "public, no-cache"), (60, "public, max-age=60")])
def test_the_catalog_is_the_same_for_everybody_and_kept_as_the_setting_says(api, lamp, settings, age, expected):
    settings.CATALOG_MAX_AGE = age
    path = f"/api/products/{lamp['id']}"
    unchanged = api.get(path, headers={"If-None-Match": '"1"'})
    assert unchanged.status_code == 304
    for answer in (api.get(path), api.get("/api/products"), unchanged):
        assert answer["Cache-Control"] == expected
    assert api.get("/api/products/0")["Cache-Control"] == "no-store"
    assert "public" not in api.patch(path, {"name": "Lamp"})["Cache-Control"]
    assert api.get(f"{path}/stock-adjustments")["Cache-Control"] == "no-store"


@pytest.mark.parametrize("pk", NO_IDS)
@pytest.mark.parametrize(
    "method, path, body",
    [
        *((method, "/api/products/{}", {"name": "x", "price": 1}) for method in ("get", "put", "patch", "delete")),
        ("get", "/api/products/{}/stock-adjustments", None),
        ("post", "/api/products/{}/stock-adjustments", {"delta": 1}),
    ],
)
def test_an_invalid_id_is_404(api, lamp, pk, method, path, body):
    arguments = [body] if body and method not in ("get", "delete") else []
    assert_problem(getattr(api, method)(path.format(pk), *arguments), 404, "not_found")


@pytest.mark.parametrize("pk", ["9223372036854775808", "abc"])
@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_an_invalid_order_id_is_404(api, lamp, pk, method):
    body = [{"items": [{"productId": lamp["id"], "quantity": 1}]}] if method == "put" else []
    assert_problem(getattr(api, method)(f"/api/stock-reservations/{pk}", *body), 404, "not_found")


def test_if_none_match_with_the_present_version_is_304(api, lamp):
    answer = api.get(f"/api/products/{lamp['id']}", headers={"If-None-Match": '"1"'})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer["ETag"] == '"1"'


def test_every_change_of_stock_makes_a_new_version(api, lamp, reserve):
    url, tags = f"/api/products/{lamp['id']}", ['"1"']

    def tag_changed() -> bool:
        answer = api.get(url, headers={"If-None-Match": tags[-1]})
        tags.append(answer["ETag"])
        return answer.status_code == 200 and len(set(tags)) == len(tags)

    api.post(f"{url}/stock-adjustments", {"delta": 1})
    assert tag_changed()
    reserve(1, {lamp["id"]: 2})
    assert tag_changed()
    api.delete("/api/stock-reservations/1")
    assert tag_changed()
    api.patch(url, {"stock": 50})
    assert tag_changed()


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        *((method, "/api/products", {"GET", "POST"}) for method in ("PUT", "PATCH", "DELETE")),
        ("POST", "/api/products/{id}", {"GET", "PUT", "PATCH", "DELETE"}),
        *((method, "/api/products/{id}/stock-adjustments", {"GET", "POST"}) for method in ("PUT", "PATCH", "DELETE")),
        *((method, "/api/stock-reservations/1", {"GET", "PUT", "DELETE"}) for method in ("POST", "PATCH")),
    ],
)
def test_a_405_lists_the_allowed_methods(api, lamp, method, path, allowed):
    answer = api.client.generic(method, path.format(**lamp))
    assert_problem(answer, 405, "method_not_allowed")
    assert allowed <= {name.strip() for name in answer["Allow"].split(",")}
    assert method not in answer["Allow"].split(", ")


@pytest.mark.parametrize(
    "path", ["/api/stock-reservations", "/api/stock-reservations/", "/api/product", "/api/products/1/x"]
)
def test_an_unknown_path_is_a_problem(api, path):
    assert_problem(api.get(path), 404, "not_found")


@pytest.mark.parametrize(
    "path", ["/api/products", "/api/products/{id}", "/api/products/{id}/stock-adjustments", "/api/stock-reservations/1"]
)
def test_head_options_slash_and_a_browser_work_everywhere(api, lamp, reserve, path):
    reserve(1, {lamp["id"]: 1})
    path = path.format(**lamp)
    got = api.get(path)
    assert got.status_code == 200
    assert api.get(path + "/").status_code == 200
    assert api.head(path).status_code == 200 and api.head(path).content == b""
    assert api.options(path).status_code in (200, 204)
    page = api.client.get(path, HTTP_ACCEPT="text/html")
    assert page.status_code == 200 and page["Content-Type"].startswith("text/html")
    assert_problem(api.client.get(path, HTTP_ACCEPT="image/png"), 406, "not_acceptable")
