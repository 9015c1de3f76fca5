"""The metrics of a running platform with several processes."""

from platform_core.topology import NOTIFICATION, ORDER, SERVICES
from tests.e2e.stack import eventually
from tests.scrapes import Scrape


def scrape(shop, service):
    return Scrape(shop.ask("GET", service, "/metrics").text)


def placed(shop, user, product):
    return shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=1)


def test_webs_and_workers_of_a_service_are_summed(shop, user, product):
    before = scrape(shop, ORDER)
    for _ in range(4):
        placed(shop, user, product)

    def rise(name, **labels):
        return scrape(shop, ORDER).sum(name, **labels) - before.sum(name, **labels)

    assert rise("order_sagas_total", outcome="confirmed") >= 4
    eventually("the worker has delivered", lambda: rise("outbox_deliveries_total", kind="notification.send") >= 4)
    assert rise("peer_call_duration_seconds_count", peer=NOTIFICATION.name) >= 4, "which the worker alone calls"


def test_database_metrics_are_exported_once_for_many_processes(shop, user, product):
    placed(shop, user, product)
    for service in SERVICES:
        found = scrape(shop, service)
        assert found.one("database_up") == 1
        assert found.sum("database_connections") >= 1
    assert len(scrape(shop, ORDER).all("outbox_pending_messages")) == 1
    eventually("nothing waits", lambda: scrape(shop, ORDER).one("outbox_pending_messages") == 0)
    assert scrape(shop, ORDER).one("outbox_oldest_message_age_seconds") == 0
