"""Statements that are compiled once: other values, the same statement; and none whose values would be lost."""

from decimal import Decimal

import pytest
from platform_core.api.compiled import Compiled, compiled

from product_svc.models import Product

pytestmark = pytest.mark.django_db


def names(values):
    return Product.objects.filter(**values).order_by("id").values_list("name")


def test_a_statement_is_made_once_for_values_of_one_shape(add):
    for name in ("Lamp", "Desk"):
        add(name=name)
    first = compiled("test names", names, {"name": "Lamp"})
    assert compiled("test names", names, {"name": "Desk"}) is first
    assert compiled("test names", names, {"name": "Desk", "stock": 1}) is not first
    assert [first.rows({"name": name}, 5) for name in ("Lamp", "Desk", "Sofa")] == [[("Lamp",)], [("Desk",)], []]
    assert first.row({"name": "Desk"}) == ("Desk",)


def test_values_that_look_alike_keep_their_places(add):
    add(name="Lamp", category="Desk")
    both = compiled("test names", names, {"name": "same", "category": "same"})
    assert both.rows({"name": "Lamp", "category": "Desk"}, 5) == [("Lamp",)]
    assert both.rows({"name": "Desk", "category": "Lamp"}, 5) == []


def test_true_and_false_are_part_of_the_shape():
    null = compiled("test names", names, {"sku__isnull": True})
    assert compiled("test names", names, {"sku__isnull": False}) is not null


def test_a_value_that_is_not_handed_on_as_it_is_does_not_pass():
    with pytest.raises(AssertionError):
        Compiled(lambda values: names({"name": values["name"].upper()}), {"name": "Lamp"})


def test_what_has_no_stand_in_does_not_pass():
    with pytest.raises(TypeError):
        Compiled(names, {"name__in": ["Lamp"]})
    assert Compiled(names, {"price": Decimal(1)}).rows({"price": Decimal(2)}, 1) == []
