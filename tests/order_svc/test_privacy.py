"""docs/privacy.md lists what this service holds of persons."""

import pytest

from order_svc.models import Order
from order_svc.services import snapshot
from tests.privacy import *  # noqa: F403
from tests.privacy import assert_is_in_no_event


@pytest.mark.django_db
def test_events_of_orders_hold_no_personal_data():
    assert_is_in_no_event(Order, lambda order: snapshot(order, []))
