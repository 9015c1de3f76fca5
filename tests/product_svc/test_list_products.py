"""GET /api/products."""

from decimal import Decimal
from itertools import chain
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from product_svc.models import Product
from tests.wire import assert_problem, walk

pytestmark = pytest.mark.django_db
ORDERINGS = ["-createdAt", "createdAt", "price", "-price", "name", "-name", "stock", "-stock"]


def names(api, **query) -> list[str]:
    answer = api.get(f"/api/products?{urlencode(query)}")
    assert answer.status_code == 200, answer.content
    return [product["name"] for product in answer.json()["results"]]


@pytest.fixture
def shelf(add) -> None:
    add(name="Running shoes", description="For runners who run far", price="80", stock=3, category="shoes")
    add(name="Desk lamp", description="Bends any way", price="49.90", stock=0, category="lights")
    add(name="Lamps of glass", description="A boxed set", price="50.00", stock=7, category="lights")
    add(name="Box", description="", price="0", stock=1, category="")


def test_products_come_newest_first_in_the_shape_of_one(api, shelf):
    assert names(api) == ["Box", "Lamps of glass", "Desk lamp", "Running shoes"]
    newest = api.get("/api/products").json()["results"][0]
    assert newest == api.get(f"/api/products/{newest['id']}").json()


@pytest.mark.parametrize(
    "search, found",
    [
        ("lamp", ["Lamps of glass", "Desk lamp"]),
        ("LAMPS", ["Lamps of glass", "Desk lamp"]),
        ("lamps desk", ["Desk lamp"]),
        ("desk glass", []),
        ("run", ["Running shoes"]),
        ("runs far", ["Running shoes"]),
        ("running shoe", ["Running shoes"]),
        ("box", ["Box", "Lamps of glass"]),
        ("the lamp of a", ["Desk lamp", "Lamps of glass"]),
        ("bending", ["Desk lamp"]),
        ("la", ["Lamps of glass", "Desk lamp"]),
        ("la desk", []),
        ("bo", ["Box"]),  # not the boxed set
        ("lights", ["Lamps of glass", "Desk lamp"]),
        ("lights lamp", ["Desk lamp", "Lamps of glass"]),
        ("the", []),
        ("of the and", []),
        ('"desk lamp"', ["Desk lamp"]),
        ("'desk' & !lamp | (", ["Desk lamp"]),
        ("desk -lamp", ["Desk lamp"]),
        ("desk or shoes", []),  # "or" is a word like others
        ("%", []),
        ("*", []),
        ("lamp:*", ["Lamps of glass", "Desk lamp"]),
        ("\\", []),
    ],
)
def test_a_search_finds_all_words_whole_or_by_their_english_stems_and_the_last_by_its_beginning(
    api, shelf, search, found
):
    assert names(api, search=search) == found


@given(search=st.text(min_size=1, max_size=60))
def test_no_search_is_an_error_of_ours(api, search):
    assert api.client.get("/api/products", {"search": search}).status_code in (200, 400)


@pytest.mark.parametrize(
    "query, found",
    [
        ({"category": "lights"}, ["Lamps of glass", "Desk lamp"]),
        ({"category": "Lights"}, ["Lamps of glass", "Desk lamp"]),
        ({"category": "LIGHTS"}, ["Lamps of glass", "Desk lamp"]),
        ({"category": "light"}, []),
        ({"category": "%"}, []),
        ({"minPrice": "50"}, ["Lamps of glass", "Running shoes"]),
        ({"minPrice": "50.00"}, ["Lamps of glass", "Running shoes"]),
        ({"minPrice": "50.01"}, ["Running shoes"]),
        ({"maxPrice": "49.90"}, ["Box", "Desk lamp"]),
        ({"maxPrice": "49.89"}, ["Box"]),
        ({"maxPrice": "0"}, ["Box"]),
        ({"minPrice": "49.9", "maxPrice": "50"}, ["Lamps of glass", "Desk lamp"]),
        ({"minPrice": "51", "maxPrice": "50"}, []),
        ({"minPrice": "9999999999.99"}, []),
        ({"inStock": "true"}, ["Box", "Lamps of glass", "Running shoes"]),
        ({"inStock": "false"}, ["Desk lamp"]),
        ({"inStock": "true", "category": "lights"}, ["Lamps of glass"]),
        ({"inStock": "false", "category": "lights", "search": "lamp", "maxPrice": "60"}, ["Desk lamp"]),
        ({"inStock": "false", "category": "shoes"}, []),
    ],
)
def test_filters_narrow_the_list_and_each_other(api, shelf, query, found):
    assert names(api, **query) == found


@pytest.mark.parametrize(
    "field, value",
    [
        *(("inStock", value) for value in ("1", "0", "yes", "True", "TRUE", "", "null", "\0", "truefalse")),
        *(
            ("minPrice", value)
            for value in ("abc", "-1", "0.001", "NaN", "Infinity", "", "1,5", "1_0", "\u0661", "1e400")
        ),
        *(("maxPrice", value) for value in ("10000000000", "\0", "9" * 5000, "0x1", "-0.01", "sNaN", "true")),
        *(
            ("ordering", value)
            for value in (
                "prices",
                "Price",
                "--price",
                "price,name",
                "id",
                "-id",
                "",
                "\0",
                "sku",
                "+price",
                "relevance",
            )
        ),
        *(("ordering", value) for value in ("deletedAt", "-version", "random", "price;", "name desc")),
        *(("limit", value) for value in ("0", "201", "abc", "-1")),
        *(("category", value) for value in ("\0", "x" * 101)),
        *(("search", value) for value in ("\0", "x" * 201)),
        *(("cursor", value) for value in ("x", "\0", "AAAA")),
    ],
)
def test_a_malformed_filter_is_refused_by_name(api, field, value):
    assert_problem(api.client.get("/api/products", {field: value}), 400, "invalid", [field])


@pytest.mark.parametrize(
    "name", ["minprice", "in_stock", "sort", "stock", "SKU", "name", "page", "offset", "price__gte"]
)
def test_an_unknown_query_parameter_is_refused_by_name(api, name):
    assert_problem(api.get(f"/api/products?{name}=1"), 400, "invalid", [name])


def test_deleted_products_are_in_no_list(api, shelf):
    for product in api.get("/api/products").json()["results"][1:]:
        api.delete(f"/api/products/{product['id']}")
    for ordering in ORDERINGS:
        assert names(api, ordering=ordering) == ["Box"]
    assert names(api, search="lamp") == names(api, category="lights") == names(api, inStock="false") == []


@pytest.mark.parametrize(
    "ordering, found",
    [
        ("-createdAt", ["Box", "Lamps of glass", "Desk lamp", "Running shoes"]),
        ("createdAt", ["Running shoes", "Desk lamp", "Lamps of glass", "Box"]),
        ("price", ["Box", "Desk lamp", "Lamps of glass", "Running shoes"]),
        ("-price", ["Running shoes", "Lamps of glass", "Desk lamp", "Box"]),
        ("name", ["Box", "Desk lamp", "Lamps of glass", "Running shoes"]),
        ("-name", ["Running shoes", "Lamps of glass", "Desk lamp", "Box"]),
        ("stock", ["Desk lamp", "Box", "Running shoes", "Lamps of glass"]),
        ("-stock", ["Lamps of glass", "Running shoes", "Box", "Desk lamp"]),
    ],
)
def test_the_list_comes_in_the_order_that_is_asked_for(api, shelf, ordering, found):
    assert names(api, ordering=ordering) == found


def test_prices_are_ordered_by_amount_and_not_as_text(api, add):
    for price in ("9", "10", "100", "9.5", "0.99"):
        add(name=price, price=price)
    assert names(api, ordering="price") == ["0.99", "9", "9.5", "10", "100"]


rows = st.lists(
    st.tuples(
        st.text(st.sampled_from("aAbB é'\"\\%zß李"), min_size=1, max_size=3),
        st.sampled_from(["0", "0.01", "0.1", "9.99", "10", "9999999999.99"]),
        st.integers(0, 2),
    ),
    max_size=9,
)


@pytest.mark.parametrize("ordering", ORDERINGS)
@settings(max_examples=settings().max_examples // 3)
@given(rows=rows, limit=st.integers(1, 4))
def test_pages_put_together_are_the_whole_list_forwards_and_backwards(api, ordering, rows, limit):
    Product.objects.all().delete()
    Product.objects.bulk_create(Product(name=name, price=Decimal(price), stock=n) for name, price, n in rows)
    whole = api.get(f"/api/products?ordering={ordering}&limit=200").json()["results"]
    assert len(whole) == len(rows)
    field = ordering.removeprefix("-")
    if field in ("price", "stock"):
        sign = -1 if ordering.startswith("-") else 1
        assert whole == sorted(whole, key=lambda product: (sign * product[field], sign * int(product["id"])))
    first = f"/api/products?ordering={ordering}&limit={limit}"
    pages = walk(api, first)
    assert list(chain.from_iterable(pages)) == [product["id"] for product in whole]
    assert all(len(page) == limit for page in pages[:-1])
    last = first
    for _ in pages[1:]:
        last = api.get(last).json()["next"]
    assert list(chain.from_iterable(reversed(walk(api, last, "previous")))) == [product["id"] for product in whole]


def test_a_product_that_comes_in_between_is_seen_in_its_place(api, add):
    for price in (1, 2, 4, 5):
        add(name=str(price), price=price)
    following = api.get("/api/products?ordering=price&limit=2").json()["next"]
    add(name="3", price=3)
    add(name="0", price=0)
    page = api.get(following).json()
    assert [product["name"] for product in page["results"]] == ["3", "4"]
    assert [product["name"] for product in api.get(page["previous"]).json()["results"]] == ["1", "2"]


def test_the_cursor_of_another_order_is_refused(api, shelf):
    cursors = {
        ordering: urlsplit(api.get(f"/api/products?ordering={ordering}&limit=1").json()["next"]).query.split("cursor=")[
            1
        ]
        for ordering in ORDERINGS
    }
    for own, cursor in cursors.items():
        for ordering in ORDERINGS:
            answer = api.get(f"/api/products?ordering={ordering}&cursor={cursor}")
            assert answer.status_code == (200 if ordering == own else 400), (own, ordering)


def test_the_cursor_of_another_list_is_refused(api, add):
    product = add(stock=1)
    for _ in range(2):
        api.post(f"/api/products/{product['id']}/stock-adjustments", {"delta": 1})
    following = api.get(f"/api/products/{product['id']}/stock-adjustments?limit=1").json()["next"]
    cursor = urlsplit(following).query.split("cursor=")[1]
    assert_problem(api.get(f"/api/products?cursor={cursor}"), 400, "invalid", ["cursor"])


def test_next_keeps_every_filter(api, add):
    for number in range(4):
        add(name=f"Lamp & {number}", category="a&b=c/ü", price=number, stock=number)
    page = api.client.get(
        "/api/products",
        {
            "category": "a&b=c/ü",
            "search": "lamp & é",
            "limit": 1,
            "inStock": "true",
            "minPrice": "1",
            "ordering": "price",
        },
    ).json()
    assert page["results"] == []
    pages = walk(
        api, "/api/products?" + urlencode({"category": "a&b=c/ü", "limit": 1, "minPrice": "1", "inStock": "true"})
    )
    assert len(list(chain.from_iterable(pages))) == 3
