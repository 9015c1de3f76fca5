"""The raw INSERT statements of order-service and the library match the models."""

from order_svc.serializers import CustomerSerializer, OrderSerializer
from order_svc.statements import EARLIER_COLUMNS
from tests.raw_statements import *  # noqa: F403


def test_the_check_covers_the_most_used_raw_statements():
    places = {place for place, _, _ in inserts()}  # noqa: F405
    assert {f"order_svc.statements.{name}" for name in ("OPEN", "CONFIRM")} <= places


def test_the_first_answer_to_a_key_has_all_that_an_order_shows():
    """`EARLIER` reads the row for a repeated request. A column that it lacks would be empty in the answer."""
    fields = [*OrderSerializer().fields.values(), *CustomerSerializer().fields.values()]
    shown = {str(field.source) for field in fields}
    known_otherwise = {"lines", "updated_at", "*"}
    assert shown - known_otherwise <= set(EARLIER_COLUMNS)
