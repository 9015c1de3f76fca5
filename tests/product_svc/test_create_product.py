"""POST /api/products."""

import json
import re
from decimal import Decimal, InvalidOperation

import pytest
from django.db import IntegrityError, transaction
from hypothesis import example, given
from hypothesis import strategies as st

from platform_core.events.models import Event
from product_svc.models import Product, StockMovement
from product_svc.services import create_product, update_product
from tests.wire import assert_problem, at_once

pytestmark = pytest.mark.django_db

LAMP = {"name": "Lamp", "price": 10}
KEYS = {
    *("id", "name", "description", "category", "sku", "price", "currency", "stock", "lowStockThreshold"),
    *("createdAt", "updatedAt"),
}
MAX = 2147483647


def price_in(answer) -> str:
    """The price as text from the JSON of the response."""
    (price,) = re.findall(r'"price":([^,}]*)', answer.content.decode())
    return price


def test_it_answers_201_with_the_product_and_where_it_is(api):
    answer = api.post("/api/products", {"name": " Lamp ", "price": 999.99, "stock": 3})
    assert answer.status_code == 201
    product = answer.json()
    assert set(product) == KEYS
    assert product["name"] == "Lamp"
    assert (product["price"], product["stock"]) == (999.99, 3)
    assert isinstance(product["id"], str)
    assert answer["Location"] == f"/api/products/{product['id']}"
    assert answer["ETag"] == '"1"'
    assert product["createdAt"].endswith("Z")
    assert api.get(answer["Location"]).json() == product


def test_omitted_fields_are_empty_and_the_stock_is_0(api):
    product = api.post("/api/products", LAMP).json()
    assert (product["stock"], product["description"], product["category"], product["sku"]) == (0, "", "", None)


@pytest.mark.parametrize("missing", ["name", "price"])
def test_name_and_price_are_required(api, missing):
    body = {key: value for key, value in LAMP.items() if key != missing}
    (error,) = assert_problem(api.post("/api/products", body), 400, "invalid", [missing])
    assert error["code"] == "required"


@pytest.mark.parametrize(
    "name", ["a", "a" * 200, " " + "a" * 200 + " ", "电灯 💡", "O'Neil; DROP TABLE", "%(id)s", "{0}"]
)
def test_a_name_of_1_to_200_characters_is_kept_trimmed(api, name):
    assert api.post("/api/products", {**LAMP, "name": name}).json()["name"] == name.strip()


@pytest.mark.parametrize("name", ["", "  ", "\u00a0", "a" * 201, None, 5, True, [], {}, "a\x00b", "a\nb", "a\x1bb"])
def test_any_other_name_is_refused(api, name):
    assert_problem(api.post("/api/products", {**LAMP, "name": name}), 400, "invalid", ["name"])
    assert not Product.objects.exists()


@pytest.mark.parametrize(
    "written, shown",
    [
        *(("0", "0.00"), ("-0", "0.00"), ("-0.00", "0.00"), ("0.01", "0.01"), ("0.1", "0.10"), ("0.29", "0.29")),
        *(("9999999999.99", "9999999999.99"), ("9999999999.98", "9999999999.98"), ("9999999999", "9999999999.00")),
        *(("1e2", "100.00"), ("1E+2", "100.00"), ("1.5e1", "15.00"), ("1e-2", "0.01"), ("1e9", "1000000000.00")),
        *(('"12.30"', "12.30"), ('"0"', "0.00"), ('"9999999999.99"', "9999999999.99"), ('"1e2"', "100.00")),
        *(("1.10", "1.10"), ("9007199254.74", "9007199254.74")),
    ],
)
def test_a_price_is_a_number_with_two_decimals(api, send, written, shown):
    answer = send("POST", "/api/products", f'{{"name": "Lamp", "price": {written}}}')
    assert answer.status_code == 201, answer.content
    assert price_in(answer) == shown
    assert price_in(api.get(answer["Location"])) == shown
    assert price_in(api.get("/api/products")) == shown
    assert Product.objects.get().price == Decimal(shown)


@pytest.mark.parametrize(
    "written",
    [
        *("-0.01", "-1", "10000000000", "9999999999.991", "9999999999.995", "0.001", "0.005", "1.999", "1e10", "1e400"),
        *("1e-3", "1e-400", "1e999999999999999", "1" * 400, "1" * 4000, "1" * 5000, "0." + "1" * 5000, "1e" + "1" * 30),
        *(
            "NaN",
            "Infinity",
            "-Infinity",
            "true",
            "false",
            "null",
            "[]",
            "[1]",
            "{}",
            '{"amount": 1}',
            "0x10",
            "1.",
            ".5",
        ),
        *('"NaN"', '"sNaN"', '"Infinity"', '"-inf"', '""', '" "', '"abc"', '"1,5"', '"1 000"', '"$5"', '"5 EUR"'),
        *(
            '"1_000"',
            '"\u0661\u0662"',
            '"\uff11\uff12"',
            '"0x10"',
            '"1e400"',
            '"1\\u0000"',
            '"--1"',
            '"-0.01"',
            '"0.001"',
        ),
        *('"1/2"', '"' + "1" * 2000 + '"', '"true"', '"null"', '"1e"', '"e1"', '"."', '"+"'),
    ],
)
def test_any_other_price_is_refused(send, written):
    assert_problem(send("POST", "/api/products", f'{{"name": "Lamp", "price": {written}}}'), 400, "invalid")
    assert not Product.objects.exists()


@given(cents=st.integers(0, 10**12 - 1), as_text=st.booleans())
def test_every_amount_that_fits_comes_back_to_the_cent(send, cents, as_text):
    amount = str(Decimal(cents) / 100)
    body = f'{{"name": "Lamp", "price": {json.dumps(amount) if as_text else amount}}}'
    answer = send("POST", "/api/products", body)
    assert answer.status_code == 201
    assert price_in(answer) == f"{cents // 100}.{cents % 100:02}"


@given(
    text=st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.decimals(allow_nan=True).map(str)
    | st.text("0123456789+-.eE_ ,\u0661", max_size=8)
)
@example(text="00.10")
@example(text="0e999")
def test_any_price_is_stored_exactly_or_refused(api, text):
    answer = api.post("/api/products", {**LAMP, "price": text})
    if answer.status_code == 201:
        assert Decimal(price_in(answer)) == Decimal(text)
        return
    assert_problem(answer, 400, "invalid", ["price"])
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return
    plain = re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,2})?", text)
    assert not plain, f"{amount} fits"


@pytest.mark.parametrize("written", ["0", "1", str(MAX), "5.0", "1e2"])
def test_a_whole_stock_within_bounds_is_taken(send, written):
    answer = send("POST", "/api/products", f'{{"name": "Lamp", "price": 1, "stock": {written}}}')
    assert answer.status_code == 201
    assert answer.json()["stock"] == int(float(written))
    assert isinstance(answer.json()["stock"], int)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "-1",
            str(MAX + 1),
            "9999999999999",
            "1" * 30,
            "1" * 4000,
            "1" * 5000,
            "1e400",
            "1e999999999999999",
            "-1e400",
        ),
        *(
            "1.5",
            "0.1",
            "1e-1",
            "true",
            "false",
            "null",
            "[]",
            "{}",
            '"abc"',
            '""',
            '"1.5"',
            '"1_0"',
            '"\u0661"',
            '"0x1"',
        ),
        *("NaN", "Infinity", '"NaN"', '"1e2"'),
    ],
)
def test_any_other_stock_is_refused(send, written):
    answer = send("POST", "/api/products", f'{{"name": "Lamp", "price": 1, "stock": {written}}}')
    assert_problem(answer, 400, "invalid")
    assert not Product.objects.exists()


@pytest.mark.parametrize("stock, movements", [(0, []), (7, [(7, "initial", 7)])])
def test_the_first_stock_is_a_movement(api, add, stock, movements):
    add(stock=stock)
    assert list(StockMovement.objects.values_list("delta", "kind", "stock")) == movements


@pytest.mark.parametrize("sku", [None, "", "   "])
def test_any_number_of_products_have_no_sku(add, sku):
    assert add(sku=sku)["sku"] is None
    assert add(sku=sku)["sku"] is None
    assert add()["sku"] is None


@pytest.mark.django_db(transaction=True)
def test_a_sku_that_is_taken_is_refused(api, lamp):
    answer = api.post("/api/products", {**LAMP, "sku": " L-1 "})
    assert_problem(answer, 409, "sku_taken")
    assert Product.objects.count() == 1
    assert api.post("/api/products", {**LAMP, "sku": "l-1"}).status_code == 201


def test_the_sku_of_a_deleted_product_is_free(api, add, lamp):
    api.delete(f"/api/products/{lamp['id']}")
    assert add(sku="L-1")["id"] != lamp["id"]
    assert_problem(api.post("/api/products", {**LAMP, "sku": "L-1"}), 409, "sku_taken")


@pytest.mark.parametrize("field, longest", [("sku", 64), ("category", 100), ("description", 5000)])
def test_other_texts_have_a_maximum_length(api, field, longest):
    assert api.post("/api/products", {**LAMP, field: "x" * longest}).json()[field] == "x" * longest
    assert_problem(api.post("/api/products", {**LAMP, field: "y" * (longest + 1)}), 400, "invalid", [field])


@pytest.mark.parametrize("field", ["sku", "category", "description"])
@pytest.mark.parametrize("value", [5, True, [], {}, "a\x00b"])
def test_other_texts_are_texts(api, field, value):
    assert_problem(api.post("/api/products", {**LAMP, field: value}), 400, "invalid", [field])


def test_a_description_may_have_several_lines(add):
    assert add(description="one\ntwo")["description"] == "one\ntwo"


def test_a_word_as_long_as_a_description_does_no_harm(api, add):
    add(description="x" * 5000, name="Long")
    assert len(api.get("/api/products?search=long").json()["results"]) == 1


def test_read_only_fields_cannot_be_sent(api):
    forbidden = {
        "id": "77",
        "version": 9,
        "createdAt": "2001-01-01T00:00:00Z",
        "updatedAt": "2001-01-01T00:00:00Z",
        "deletedAt": "2001-01-01T00:00:00Z",
        "deleted_at": "2001-01-01T00:00:00Z",
        "text": "x",
        "isActive": False,
    }
    errors = assert_problem(api.post("/api/products", {**LAMP, **forbidden}), 400, "invalid", forbidden)
    assert {error["code"] for error in errors} == {"unknown_field"}
    assert not Product.objects.exists()


def test_all_validation_errors_are_reported_at_once(api):
    answer = api.post("/api/products", {"name": "", "price": -1, "stock": -1, "sku": 5})
    errors = assert_problem(answer, 400, "invalid", ["name", "price", "stock", "sku"])
    assert {error["code"] for error in errors} == {"blank", "min_value", "invalid"}


@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            "name": st.text(max_size=210) | st.integers(),
            "price": st.decimals(-10, 10, places=2).map(str) | st.floats() | st.text(max_size=5),
            "stock": st.integers() | st.floats() | st.none(),
            "sku": st.text(max_size=70),
            "category": st.text(max_size=110),
            "description": st.text(max_size=50),
        },
    )
)
def test_any_body_gives_the_stored_product_or_a_validation_error(api, send, body):
    Product.objects.all().delete() if not StockMovement.objects.exists() else Product.objects.update(sku=None)
    answer = send("POST", "/api/products", json.dumps(body))
    if answer.status_code == 201:
        assert api.get(answer["Location"]).content == answer.content
    else:
        assert_problem(answer, 400, "invalid")


@pytest.mark.django_db(transaction=True)
def test_one_of_two_concurrent_products_gets_a_sku(api):
    answers = at_once([lambda: api.post("/api/products", {**LAMP, "sku": "S", "stock": 1})] * 6)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert Product.objects.count() == Event.objects.count() == StockMovement.objects.count() == 1


def test_a_taken_sku_leaves_the_transaction_of_the_caller_usable(lamp):
    other = create_product(name="Other", price=1)
    with transaction.atomic():
        for refused in (
            lambda: create_product(name="Twin", price=1, sku=lamp["sku"]),
            lambda: update_product(other.pk, None, sku=lamp["sku"]),
        ):
            with pytest.raises(IntegrityError, match="product_sku_taken"):
                refused()
        create_product(name="Third", price=1)
    assert set(Product.objects.values_list("name", flat=True)) == {lamp["name"], "Other", "Third"}
