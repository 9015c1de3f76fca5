"""What the raw statements of product-service and of the library insert fits the models."""

from tests.raw_statements import *  # noqa: F403


def test_those_that_are_written_most_are_looked_at():
    places = {place for place, _, _ in inserts()}  # noqa: F405
    assert {f"product_svc.statements.{name}" for name in ("CREATE", "RESERVE")} <= places
    assert "product_svc.reservations._CLAIM" in places
