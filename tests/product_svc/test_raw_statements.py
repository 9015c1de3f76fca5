"""The raw INSERT statements of product-service and the library match the models."""

from tests.raw_statements import *  # noqa: F403


def test_the_check_covers_the_most_used_raw_statements():
    places = {place for place, _, _ in inserts()}  # noqa: F405
    assert {f"product_svc.statements.{name}" for name in ("CREATE", "RESERVE")} <= places
    assert "product_svc.reservations._CLAIM" in places
