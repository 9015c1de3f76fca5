"""The admin's common parts, by the tables of order-service."""

import pytest
from django.contrib import admin
from django.urls import reverse

from order_svc.models import Order
from platform_core.admin import BoundedPaginator
from platform_core.outbox.models import OutboxMessage
from platform_core.topology import SERVICES

pytestmark = pytest.mark.django_db
ORDERS = "/admin/order_svc/order/"


@pytest.fixture
def orders():
    return Order.objects.bulk_create(Order(user_id=n, currency="USD") for n in range(1, 61))


def statements(captured):
    return [query["sql"] for query in captured]


@pytest.mark.parametrize("path", [ORDERS, ORDERS + "?status__exact=pending", ORDERS + "?q=7", "/admin/events/event/"])
def test_nothing_is_counted_without_a_bound(admin_client, orders, django_assert_max_num_queries, path):
    with django_assert_max_num_queries(5) as captured:
        assert admin_client.get(path).status_code == 200
    counts = [sql for sql in statements(captured) if "COUNT(" in sql]
    assert all(f"LIMIT {BoundedPaginator.most}" in sql for sql in counts)
    assert not [sql for sql in statements(captured) if "DISTINCT" in sql]


def test_a_list_that_was_cut_says_so(admin_client, orders, monkeypatch):
    assert "60\n" in admin_client.get(ORDERS).content.decode()
    monkeypatch.setattr(BoundedPaginator, "most", 10)
    page = admin_client.get(ORDERS).content.decode()
    assert "more than 10" in page


def test_a_list_loads_no_long_column_that_it_does_not_show(admin_client, orders, django_assert_max_num_queries):
    with django_assert_max_num_queries(5) as captured:
        admin_client.get(ORDERS)
    assert not [sql for sql in statements(captured) if '"fingerprint"' in sql or '"refusal"' in sql]


def test_read_only_pages_have_no_save_button(admin_client):
    row = OutboxMessage.objects.create(kind="note", destination="there", aggregate="order:1", payload={}, key="1")
    page = admin_client.get(reverse("admin:outbox_outboxmessage_change", args=[row.pk])).content.decode()
    assert 'name="_save"' not in page
    assert "Close" in page


def test_a_list_is_sorted_only_by_columns_that_it_offers(admin_client, orders):
    for query in ("?o=2", "?o=-5", "?o=nonsense", "?o=4711"):
        listed = admin_client.get(ORDERS + query).context["cl"].result_list
        assert [order.pk for order in listed][:3] == [order.pk for order in orders[:-4:-1]]
    assert admin_client.get(f"{ORDERS}?o=1").context["cl"].result_list[0].pk == orders[0].pk


def test_dead_messages_are_tried_again(admin_client):
    common = {"kind": "note", "destination": "there", "aggregate": "order:1", "payload": {}}
    dead = OutboxMessage.objects.create(**common, key="1", state="dead", attempts=9)
    sent = OutboxMessage.objects.create(**common, key="2", state="delivered", attempts=1)
    chosen = {"action": "redrive_dead", "_selected_action": [dead.pk, sent.pk]}
    page = admin_client.post(reverse("admin:outbox_outboxmessage_changelist"), chosen, follow=True)
    assert "1 dead messages will be tried again." in page.content.decode()
    assert set(OutboxMessage.objects.values_list("key", "state", "attempts")) == {
        ("1", "pending", 0),
        ("2", "delivered", 1),
    }


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_the_sign_in_redirects_only_to_its_own_host(client, admin_user, elsewhere):
    answer = client.post(f"/admin/login/?next={elsewhere}", {"username": "admin", "password": "password"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_the_five_admins_do_not_sign_each_other_out(client, admin_user, settings):
    client.post("/admin/login/", {"username": "admin", "password": "password"})
    assert set(client.cookies) == {"order_session", "order_csrf"}
    assert len({service.stem for service in SERVICES}) == len(SERVICES)


@pytest.mark.parametrize("path", ["/admin", "/admin?x=1"])
def test_the_slash_may_be_left_out(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_every_table_has_a_readable_title(admin_client):
    page = admin_client.get("/admin/")
    titles = [app["name"] for app in page.context["app_list"]]
    assert titles == ["Orders", "Authentication and Authorization", "Events", "Jobs", "Outbox", "Platform"]
    assert len(admin.site._registry) == sum(len(app["models"]) for app in page.context["app_list"])


def test_times_are_written_as_the_api_writes_them(admin_client, orders):
    shown = f"{Order.objects.latest('id').created_at:%Y-%m-%d %H:%M}"
    assert shown in admin_client.get(ORDERS).content.decode()
