"""The list of orders in the admin: columns, searches, filters, saved views, and what they read of a large table."""

import json
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from order_svc.models import Order, OrderLine, OrderTransition
from platform_core.events.models import Event
from platform_core.outbox.models import OutboxMessage
from tests.admin_pages import said, url
from tests.lists import assert_page_is_cheap
from tests.order_svc.conftest import ANN, BOB, DESK, LAMP

pytestmark = pytest.mark.django_db
ROWS = 20_000


@pytest.fixture
def listed(admin_client):
    """The numbers of the orders in the list, in its order."""

    def ask(query=""):
        answer = admin_client.get(url(Order, "changelist") + query)
        assert answer.status_code == 200, (query, answer.status_code)
        return [order.pk for order in answer.context["cl"].result_list]

    return ask


class Catalogs:
    """The searches of user-service and product-service. ``users`` and ``products`` are ids by a word of the name."""

    def __init__(self):
        self.users, self.products, self.asked = {}, {}, []

    def answer(self, kind, known):
        def step(request):
            query = parse_qs(urlsplit(request.url).query)
            self.asked.append((kind, query["search"][0]))
            found = known().get(query["search"][0].lower(), ())
            rows = [{"id": str(pk), "name": f"{kind} {pk}", "price": 1} for pk in found][: int(query["limit"][0])]
            return 200, {}, json.dumps({"results": rows, "next": None, "previous": None})

        return step


@pytest.fixture
def catalogs(peers, settings):
    known = Catalogs()
    users, products = (re.escape(settings.PEER_URLS[name]) for name in ("user-service", "product-service"))
    peers.add_callback("GET", re.compile(users + r"/api/users\?"), known.answer("user", lambda: known.users))
    peers.add_callback("GET", re.compile(products + r"/api/products\?"), known.answer("lamp", lambda: known.products))
    return known


def text_of(answer):
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def test_a_row_says_who_what_and_how_much_and_leads_there(admin_client, place, neighbours, settings):
    neighbours.catalog[LAMP] = ("Lamp", "1234.5")
    lines = [{"productId": product, "quantity": 2} for product in (LAMP, DESK)]
    order = place({"userId": ANN, "items": lines}).json()
    answer = admin_client.get(url(Order, "changelist"))
    words = text_of(answer)
    assert "Ann ann@example.com 2 × Lamp, 2 × Desk 2,969.00 USD" in words
    assert "Times are in UTC." in words
    html = answer.content.decode()
    assert f'href="/orders/{order["id"]}/explain"' in html
    assert f"/admin/user_svc/user/{ANN}/change/" in html


def test_an_unplaced_order_has_no_total_and_names_the_ids(admin_client, order_in):
    order = order_in("pending", customer_name=None, customer_email=None, customer_address=None)
    order.lines.update(name=None)
    words = text_of(admin_client.get(url(Order, "changelist")))
    assert f"user {ANN} 2 × product {LAMP} –" in words


def test_times_are_in_the_shops_zone(admin_client, order_in, settings):
    order_in("confirmed", created_at="2026-01-05T23:30:00Z")
    settings.SHOP_TIME_ZONE = "Europe/Berlin"
    words = text_of(admin_client.get(url(Order, "changelist")))
    assert "Times are in Europe/Berlin." in words
    assert "2026-01-06 00:30" in words or "Jan. 6, 2026, 12:30 a.m." in words


def test_the_list_is_searched_by_number_email_request_and_product(listed, place, api, catalogs):
    mine = place(userId=ANN).json()
    body = {"userId": BOB, "productId": DESK, "quantity": 1}
    other = api.post("/api/orders", body, headers={"X-Request-ID": "req-7"}).json()
    Order.objects.filter(pk=other["id"]).update(customer_email="Bob@Example.com")
    for query, expected in (
        (mine["id"], mine),
        ("bob@example.COM", other),
        ("req-7", other),
        (f"product:{DESK}", other),
        (f"Product: {LAMP}", mine),
    ):
        assert listed(f"?q={query}") == [int(expected["id"])], query
    for nothing in ("nobody@example.com", "4711", "product:9", "product:x", "9" * 30):
        assert listed(f"?q={nothing}") == [], nothing


def test_the_list_is_searched_by_the_names_of_customers_and_products(admin_client, listed, place, catalogs):
    anns, bobs = (
        int(place(userId=user, productId=product).json()["id"]) for user, product in ((ANN, LAMP), (BOB, DESK))
    )
    catalogs.users, catalogs.products = {"miller": [BOB, 99], "light": [BOB]}, {"oak": [DESK], "light": [LAMP]}
    for query, expected in (
        ("?q=miller", [bobs]),
        ("?q=Oak", [bobs]),
        ("?q=light", [bobs, anns]),
        ("?q=customer:light", [bobs]),
        ("?q=Product: light", [anns]),
        ("?customer=miller", [bobs]),
        ("?product=light", [anns]),
        ("?product=light&status=shipped", []),
        ("?q=light&status=confirmed", [bobs, anns]),
        ("?q=nobody", []),
        (f"?q={'x' * 201}", []),
    ):
        assert listed(query) == expected, query
    assert said(admin_client.get(url(Order, "changelist") + "?q=light")) == [
        "These are the newest orders of 1 customer and 1 product with this name."
    ]
    catalogs.asked.clear()
    for exact in (str(anns), "ann@example.com", f"product:{LAMP}", f"customer:{ANN}"):
        listed(f"?q={exact}")
    Order.objects.filter(pk=anns).update(request_id="light")
    assert listed("?q=light") == [anns], "a request id comes first"
    assert catalogs.asked == []


def test_an_action_on_found_orders_does_not_repeat_what_the_search_says(admin_client, place, catalogs):
    order, other = (place().json() for _ in range(2))
    catalogs.users = {"ann": [ANN]}
    chosen = {"action": "ship", "_selected_action": [order["id"], other["id"]]}
    answer = admin_client.post(url(Order, "changelist") + "?q=ann", chosen, follow=True)
    assert "2 orders will be marked as shipped." in answer.content.decode()
    assert said(answer) == []


def test_many_of_a_name_are_said_to_be_the_first_only(admin_client, place, catalogs):
    place()
    catalogs.users = {"ann": range(1, 100)}
    (message,) = said(admin_client.get(url(Order, "changelist") + "?q=ann"))
    assert message == "These are the newest orders of the first 20 customers with this name."


def test_a_service_that_is_silent_is_named(admin_client, listed, place, catalogs, neighbours, peers, settings):
    order = int(place().json()["id"])
    catalogs.users = {"ann": [ANN]}
    peers.replace("GET", re.compile(re.escape(settings.PEER_URLS["product-service"]) + r"/api/products\?"), status=503)
    answer = admin_client.get(url(Order, "changelist") + "?q=ann")
    assert [row.pk for row in answer.context["cl"].result_list] == [order]
    assert said(answer)[0] == "product-service did not answer, so there may be more orders with this name."
    for query in ("?q=product:ann", "?product=ann"):
        answer = admin_client.get(url(Order, "changelist") + query)
        (message,) = said(answer)
        assert "product-service does not answer, so names cannot be looked up now. Use an id." in message
        assert not answer.context["cl"].result_list


def test_filters_narrow_the_list(listed, order_in, settings):
    settings.SHOP_TIME_ZONE = "Europe/Berlin"
    late = order_in("confirmed", created_at="2026-01-05T23:30:00Z")
    early = order_in("shipped", created_at="2026-01-05T22:30:00Z", user_id=BOB, customer_email="bob@example.com")
    for query, expected in (
        ("?status=shipped", [early]),
        ("?status=delivered", []),
        ("?created_at_from=2026-01-06", [late]),
        ("?created_at_to=2026-01-05", [early]),
        ("?created_at_from=2026-01-05&created_at_to=2026-01-06", [late, early]),
        (f"?customer={BOB}", [early]),
        ("?customer=BOB@example.com", [early]),
        (f"?product={LAMP}", [early, late]),
        (f"?product={LAMP}&status=confirmed", [late]),
        (f"?product={DESK}", []),
    ):
        assert listed(query) == [order.pk for order in expected], query


BAD = [
    ("?status=unknown", "status: expected one of"),
    ("?created_at_from=yesterday", "created at, from: 'yesterday' is no day. Write it as 2026-01-31."),
    ("?created_at_to=2026-02-30", "created at, to: '2026-02-30' is no day."),
    ("?created_at_to=9999-12-31", "is no day"),
    ("?customer=-7", "customer: expected a user's id, email address or name."),
    ("?product=-1", "product: expected a product's id"),
    (f"?product={2**63}", "product: expected a product's id"),
    ("?product=%00", "product: expected a product's id"),
    ("?customer=%00@x", "customer: expected"),
    ("?user_id=abc", "no such filter, value or page"),
    ("?status__exact=%00", "no such filter, value or page"),
    ("?nonsense=1", "no such filter, value or page"),
]


@pytest.mark.parametrize("query, text", BAD, ids=[query for query, _ in BAD])
def test_a_bad_value_gets_a_message(admin_client, order_in, query, text):
    order_in("confirmed")
    answer = admin_client.get(url(Order, "changelist") + query, follow=True)
    assert answer.status_code == 200
    (message,) = said(answer)
    assert text in message


def test_saved_views(admin_client, listed, order_in):
    waiting = order_in("confirmed")
    overdue = order_in("pending", created_at=now() - timedelta(minutes=5))
    order_in("pending")
    late = order_in("cancelled")
    for order, state in ((late, "dead"), (waiting, "delivered")):
        OutboxMessage.objects.create(
            kind="stock.release", destination="product-service", aggregate=f"order:{order.pk}", key=f"k{order.pk}",
            payload={}, state=state, created_at=now() - timedelta(minutes=1),
        )  # fmt: skip
    answer = admin_client.get(url(Order, "changelist") + "?status=confirmed")
    views = {view["title"]: view for view in answer.context["saved_views"]}
    assert [title for title, view in views.items() if view["is_current"]] == ["To ship"]
    assert listed(views["To ship"]["url"]) == [waiting.pk]
    assert sorted(listed(views["Stuck"]["url"])) == sorted([overdue.pk, late.pk])
    for view in views.values():
        listed(view["url"])


def test_a_message_that_is_on_its_way_makes_no_order_stuck(listed, placed):
    assert listed("?stuck=yes") == []
    OutboxMessage.objects.update(created_at=now() - timedelta(minutes=1))
    assert listed("?stuck=yes") == [int(placed["id"])]


def test_a_list_costs_the_same_queries_for_any_number_of_orders(admin_client, place):
    place()
    counts = []
    for more in (0, 5):
        for _ in range(more):
            place()
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(url(Order, "changelist"))
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_a_bulk_action_names_the_account(admin_client, order_in):
    order = order_in("confirmed")
    admin_client.post(url(Order, "changelist"), {"action": "ship", "_selected_action": [order.pk]})
    assert OrderTransition.objects.get(order=order, status="shipped").actor == "local:admin"


# Large tables


@pytest.fixture
def crowd():
    """Orders of four years, newest last: most are done, and few wait. Popular products are in many orders."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {Order._meta.db_table}
                (user_id, status, total, currency, reason, confirmed_at, caller, request_id, traceparent,
                 customer_name, customer_email, customer_address, created_at, updated_at, version)
            SELECT n % 3000,
                   CASE WHEN n > {ROWS} - 150 THEN 'confirmed' WHEN n > {ROWS} - 900 THEN 'shipped'
                        WHEN n % 20 = 0 THEN 'cancelled' WHEN n % 997 = 0 THEN 'rejected' ELSE 'delivered' END,
                   n, 'USD', '', now(), '', 'req-' || n, '',
                   'Ann', 'ann' || n % 3000 || '@example.com', 'x',
                   now() - ({ROWS} - n) * interval '100 minutes', now(), 2
            FROM generate_series(1, {ROWS}) AS n
            """
        )
        cursor.execute(
            f"""
            INSERT INTO {OrderLine._meta.db_table} (order_id, product_id, quantity, name, unit_price, subtotal)
            SELECT id, 1 + (id * 7919 % 500) * (id * 7919 % 500) / 500, 1, 'P', 1, 1 FROM {Order._meta.db_table}
            """
        )
        cursor.execute(
            f"""
            INSERT INTO {OutboxMessage._meta.db_table}
                (kind, destination, aggregate, key, payload, state, attempts, available_at, last_error, request_id,
                 traceparent, created_at)
            SELECT 'stock.release', 'product-service', 'order:' || id, 'k' || id, '{{}}',
                   CASE WHEN id % 1000 = 0 THEN 'dead' ELSE 'delivered' END, 0, now(), '', 'req-' || id, '',
                   now() - interval '1 hour'
            FROM {Order._meta.db_table}
            """
        )
        cursor.execute("ANALYZE")


QUERIES = [
    *("?q={pk}", "?q=ann77@example.com", "?q=req-4711", "?q=nothing-like-it", "?q=product:1", "?q=product:400"),
    *("?status=confirmed", "?status=rejected", "?status=delivered", "?status=pending", "?stuck=yes"),
    *(
        "?created_at_from={year_ago}&created_at_to={year_ago}",
        "?created_at_from=2999-01-01",
        "?created_at_to=1999-01-01",
    ),
    *("?status=confirmed&created_at_to={year_ago}", "?status=pending&created_at_from={year_ago}"),
    *("?q=ann", "?q=smith", "?q=lamp", "?customer=ann", "?product=lamp", "?product=ann&status=confirmed"),
    *("?customer=77", "?customer=ANN77@example.com", "?customer=77&status=confirmed", "?product=400"),
    *(
        "?product=1",
        "?product=400&status=confirmed",
        "?customer=999999",
        "?product=999999",
        "?o=1",
        "?o=-1",
        "?o=6",
        "?o=-6",
        "?p=2",
    ),
]


def test_no_list_reads_all_orders(admin_client, crowd, catalogs, subtests):
    pk = Order.objects.values_list("pk", flat=True)[10000]
    catalogs.users = {"ann": range(1, 3000), "smith": [77]}
    catalogs.products = {"ann": range(1, 500), "lamp": [1, 2, 400]}
    year_ago = (now() - timedelta(days=365)).date().isoformat()
    for query in QUERIES:
        with subtests.test(query):
            assert_page_is_cheap(admin_client, Order, query.format(pk=pk, year_ago=year_ago))


OUTBOX = ("", "?q=order:77", "?q=k77", "?q=req-77", "?q=nothing", "?state=dead", "?state=pending", "?purpose=webhooks")
EVENTS = ("", "?q=77", "?q=req-77", "?q=nothing", "?o=1")


def test_no_list_reads_all_messages_or_events(admin_client, crowd, subtests):
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {Event._meta.db_table} (epoch, txid, type, subject, data, time, request_id, traceparent)
            SELECT 1, id, 'order.confirmed', id::text, '{{}}', created_at, 'req-' || id, ''
            FROM {Order._meta.db_table}
            """
        )
        cursor.execute("ANALYZE")
    for model, queries in ((OutboxMessage, OUTBOX), (Event, EVENTS)):
        for query in queries:
            with subtests.test(f"{model.__name__} {query}"):
                assert_page_is_cheap(admin_client, model, query)


def test_messages_and_events_lead_to_their_order(admin_client, placed):
    for model in (OutboxMessage, Event):
        html = admin_client.get(url(model, "changelist")).content.decode()
        assert f'href="/admin/order_svc/order/{placed["id"]}/change/"' in html


def test_an_event_of_an_unknown_kind_is_listed_without_a_link(admin_client, placed):
    Event.objects.update(type="comet.seen")
    OutboxMessage.objects.update(aggregate="comet")
    for model in (OutboxMessage, Event):
        assert admin_client.get(url(model, "changelist")).status_code == 200
