"""Amounts as people read them: with the decimals of their currency, and commas between thousands."""

from decimal import Decimal
from typing import Any

import pytest
from django.template import Context, Template

from platform_core.admin import AmountField, amount_column
from platform_core.conf import amount_text

BIG = "1234567890123456789012345678.90"


@pytest.mark.parametrize(
    "amount, code, expected",
    [
        ("1500", "USD", "1,500.00"),
        ("1500.5", "USD", "1,500.50"),
        ("1500.00", "JPY", "1,500"),
        ("0.00", "JPY", "0"),
        ("0", "USD", "0.00"),
        ("999", "JPY", "999"),
        ("1E+3", "JPY", "1,000"),
        ("-1234.5", "EUR", "-1,234.50"),
        ("10.5", "JPY", "10.5"),  # never rounded in silence
        ("0.005", "USD", "0.005"),
        (BIG, "USD", "1,234,567,890,123,456,789,012,345,678.90"),
        ("12.345", "KWD", "12.345"),  # a currency that a shop cannot have, in the data of another sender
        ("12.50", "KWD", "12.50"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount, code, expected):
    assert amount_text(Decimal(amount), code, grouped=True) == expected
    assert amount_text(Decimal(amount), code) == expected.replace(",", "")


@pytest.mark.parametrize("code, expected", [("USD", "1500.00"), ("JPY", "1500")])
def test_without_a_code_it_is_the_shops_currency(settings, code, expected):
    settings.CURRENCY = code
    assert amount_text(Decimal("1500.00")) == expected


def rendered(text: str, **values: Any) -> str:
    return Template("{% load money %}" + text).render(Context(values))


@pytest.mark.parametrize("code, expected", [("USD", "1,500.00"), ("JPY", "1,500")])
def test_templates_have_a_filter_and_a_tag(settings, code, expected):
    settings.CURRENCY = code
    assert rendered("{{ amount|money }}", amount=Decimal("1500.00")) == expected
    assert rendered("{% money amount %}", amount="1500.00") == expected
    settings.CURRENCY = "EUR"
    assert rendered("{% money data.total data.currency %}", data={"total": 1500, "currency": code}) == expected


@pytest.mark.parametrize("amount", ["<b>", "NaN", "1,5", [1]])
def test_what_is_no_number_is_shown_as_it_is_and_escaped(amount):
    assert rendered("{% money amount 7 %}", amount=amount) == str(amount).replace("<", "&lt;").replace(">", "&gt;")


def test_a_missing_amount_or_currency_is_no_error():
    assert rendered('{% money data.total data.currency %}{{ data.total|money|default:"–" }}', data={}) == "–"
    assert rendered('{{ amount|money|default:"–" }}', amount=None) == "–"
    assert rendered("{% money amount data.currency %}", amount=Decimal(3), data={}) == "3.00"


class Row:
    unit_price: Decimal | None = Decimal("1500.00")


@pytest.mark.parametrize("code, expected", [("USD", "1,500.00 USD"), ("JPY", "1,500 JPY")])
def test_a_column_of_the_admin_shows_the_amount(settings, code, expected):
    settings.CURRENCY = code
    column: Any = amount_column("unit_price")
    assert f">{expected}<" in column(Row())
    assert (column.short_description, column.admin_order_field) == ("unit price", "unit_price")


@pytest.mark.parametrize("code, most, too_long", [("USD", "9999999999.99", "10000000000"), ("JPY", "9" * 10, "1" * 11)])
def test_a_form_takes_the_digits_that_the_column_has_room_for(settings, code, most, too_long):
    settings.CURRENCY = code
    field = AmountField(max_digits=12, decimal_places=2)
    assert field.clean(most) == Decimal(most)
    with pytest.raises(Exception, match="no more than 10 digits"):
        field.clean(too_long)
