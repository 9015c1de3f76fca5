"""Each order is counted once, by outcome and reason."""

import pytest

from tests.order_svc.conftest import BOB, DESK, FAILURES, NOBODY, NOTHING, recover_what_is_pending
from tests.scrapes import Scrape

pytestmark = pytest.mark.django_db


def counted(api):
    return Scrape(api.get("/metrics").content.decode())


@pytest.fixture
def rise(api):
    before = counted(api)
    return lambda name, **labels: counted(api).sum(name, **labels) - before.sum(name, **labels)


def test_a_confirmed_order_is_counted_once_however_often_it_is_asked_for(place, rise):
    for _ in range(3):
        place(key="k-1")
    assert rise("order_sagas_total") == rise("order_sagas_total", outcome="confirmed", reason="") == 1


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"userId": NOBODY}, "unknown_user"),
        ({"userId": BOB}, "inactive_user"),
        ({"productId": NOTHING}, "unknown_product"),
        ({"productId": DESK, "quantity": 9}, "insufficient_stock"),
    ],
)
def test_a_refused_order_is_counted_with_the_reason(place, neighbours, rise, fields, reason):
    neighbours.stock[DESK] = 1
    neighbours.disabled = {BOB}
    assert place(**fields).status_code in (409, 422)
    assert rise("order_sagas_total") == rise("order_sagas_total", outcome="rejected", reason=reason) == 1


@pytest.mark.parametrize("step", ["user_step", "product_step"])
def test_an_order_for_which_a_service_does_not_answer_is_counted_as_unavailable(place, neighbours, rise, step):
    setattr(neighbours, step, FAILURES["500"])
    assert place().status_code == 503
    assert rise("order_sagas_total") == rise("order_sagas_total", outcome="rejected", reason="unavailable") == 1


def test_rejections_by_recovery_are_counted_separately(order_in, rise):
    order_in("pending")
    before = rise("order_sagas_total", reason="abandoned")
    recover_what_is_pending()
    recover_what_is_pending()
    assert rise("orders_recovered_total") == 1
    assert rise("order_sagas_total", reason="abandoned") - before == 1
