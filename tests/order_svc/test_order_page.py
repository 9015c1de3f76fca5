"""The page of an order: customer, amounts, messages, deeds, and what it says when services are silent."""

import re
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from order_svc.explaining import facts
from order_svc.models import Order
from platform_core.http.context import DEFAULT_DEADLINE
from platform_core.outbox.models import OutboxMessage
from platform_core.vocabulary import Role
from tests import people
from tests.order_svc.conftest import ANN, DESK, LAMP, SILENT, problem
from tests.order_svc.test_explain_an_order import moment
from tests.platform_core.test_browser_security import Page

pytestmark = pytest.mark.django_db


def text_of(html):
    """The words of a page, without tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def links(html):
    return re.findall(r'href="([^"]+)"', html)


def test_the_customer_and_the_products_lead_to_their_services(placed, page, settings):
    html = page(placed)
    for words in ("Ann", "ann@example.com", "1 Elm Street", "As of the confirmation."):
        assert words in html
    user, product = settings.PEER_URLS["user-service"], settings.PEER_URLS["product-service"]
    host = "http://testserver:"
    found = links(html)
    assert f"{host}{user.rpartition(':')[2]}/admin/user_svc/user/{ANN}/change/" in found
    assert f"{host}{product.rpartition(':')[2]}/admin/product_svc/product/{LAMP}/change/" in found


@pytest.mark.parametrize(
    "code, price, line, total",
    [
        ("USD", "1234.5", "1,234.50 1,000 1,234,500.00", "1,234,500.00 USD"),
        ("JPY", "1500", "1,500 1,000 1,500,000", "1,500,000 JPY"),
    ],
)
def test_amounts_are_grouped_and_have_the_decimals_of_the_currency(
    settings, place, neighbours, page, code, price, line, total
):
    settings.CURRENCY = code
    neighbours.catalog[LAMP] = ("Lamp", price)
    words = text_of(page(place({"userId": ANN, "productId": LAMP, "quantity": 1000}).json()))
    assert f"{line} " in words and total in words
    assert code == "USD" or ".00" not in words


def test_an_order_without_a_customer_shows_the_account(place, neighbours, page):
    neighbours.stock = {LAMP: 1}
    place()
    html = page(Order.objects.get())
    assert "ann@example.com" in html and "As the account is now." in html


def test_an_erased_customer_is_not_invented(order_in, neighbours, page):
    order = order_in("delivered", customer_name=None, customer_email=None, customer_address=None)
    neighbours.users.clear()
    html = page(order)
    assert f"User {ANN}" in html and "does not exist any more" in html


def test_a_shortage_names_what_was_wanted_and_what_was_there(place, neighbours, afterwards, explained, page):
    neighbours.stock = {LAMP: 1}
    afterwards.held = None
    place({"userId": ANN, "productId": LAMP, "quantity": 2000})
    order = Order.objects.get()
    OutboxMessage.objects.update(state="delivered", delivered_at=now())
    assert explained(order)["verdict"]["text"] == "Rejected: there was not enough stock (2,000 wanted, 1 in stock)."
    html = page(order)
    assert "2,000 wanted, 1 in stock" in html and "2,000 pieces" in html
    assert "insufficient_stock" not in html
    assert 'class="diagnosis ended"' in html and 'class="diagnosis well"' not in html


def test_a_shortage_of_several_products_names_each(place, neighbours, explained):
    neighbours.stock = {LAMP: 1, DESK: 0}
    place({"userId": ANN, "items": [{"productId": LAMP, "quantity": 2}, {"productId": DESK, "quantity": 3}]})
    text = explained(Order.objects.get())["verdict"]["text"]
    assert f"(product {LAMP}: 2 wanted, 1 in stock; product {DESK}: 3 wanted, 0 in stock)" in text


def delivered(order, afterwards, held):
    OutboxMessage.objects.update(state="delivered", delivered_at=now())
    afterwards.held = held


def test_stock_that_was_never_held_is_not_said_to_be_released(api, place, neighbours, afterwards, explained):
    neighbours.stock = {LAMP: 1}
    place()
    order = Order.objects.get()
    delivered(order, afterwards, None)
    assert moment(explained(order), "outbox.release")["title"] == "Release confirmed: no stock was held"
    neighbours.stock = {}
    other = place().json()
    api.post(f"/api/orders/{other['id']}/cancel")
    delivered(other, afterwards, "released")
    assert moment(explained(other), "outbox.release")["title"] == "Stock released"


@pytest.mark.parametrize(
    "state, words",
    [
        ("confirmed", "product-service holds the stock for this order."),
        ("shipped", "The stock was taken for this order when it was placed."),
        ("delivered", "The stock was taken for this order when it was placed."),
    ],
)
def test_the_stock_of_a_shipped_order_is_not_said_to_be_held(order_in, afterwards, page, state, words):
    order = order_in(state)
    afterwards.held = "reserved"
    assert words in text_of(page(order))


def test_whether_stock_was_held_is_not_guessed(place, neighbours, afterwards, explained):
    neighbours.product_step = lambda request: problem(503, "unavailable")
    place()
    order = Order.objects.get()
    delivered(order, afterwards, None)
    afterwards.product_step = SILENT
    assert moment(explained(order), "outbox.release")["title"] == "Release confirmed"


def test_messages_show_their_text_and_where_they_went(placed, afterwards, page):
    html = page(placed)
    assert f"Order {placed['id']} is confirmed" in html and "Thank you for your order." in html
    assert "not handed over yet" in html and "to ann@example.com" in text_of(html)
    afterwards.mailed(placed)
    key = f"order-{placed['id']}-confirmed"
    afterwards.notices[key] |= {"recipient": "other@example.com", "subject": "Hello", "message": "As it was sent"}
    html = page(placed)
    for words in ("other@example.com", "Hello", "As it was sent", "/admin/notification_svc/notification/5/change/"):
        assert words in html
    assert "Send it again" not in html
    afterwards.mailed(placed, status="failed", error="OSError: refused")
    html = page(placed)
    assert "OSError: refused" in html
    assert re.search(r"<details[^>]* open>", html), "a failed mail is unfolded"


@pytest.mark.parametrize("role, may", [(Role.SUPPORT, True), (Role.ADMIN, True), (Role.ORDERS, False)])
def test_a_failed_mail_leads_to_where_it_can_be_sent_again_by_who_may(
    placed, afterwards, client, known_callers, role, may
):
    afterwards.mailed(placed, status="failed", error="OSError: refused")
    headers = {"Accept": "text/html", **people.as_user(9, role)}
    html = client.get(f"/orders/{placed['id']}/explain", headers=headers).content.decode()
    assert ("Send it again at notification-service" in html) == may
    assert "/admin/notification_svc/notification/5/change/" in html


def test_staff_are_named_by_their_account_or_by_user_service(
    api, order_in, afterwards, neighbours, page, known_callers
):
    order = order_in("confirmed")
    User.objects.create_user("staff:9", first_name="Jo Keeper")
    neighbours.users.add(10)
    neighbours.profile["name"] = "Kim"
    api.post(f"/api/orders/{order.pk}/ship", headers=people.as_user(9, Role.ORDERS))
    api.post(f"/api/orders/{order.pk}/deliver", headers=people.as_user(10, Role.ORDERS))
    words = text_of(page(order))
    assert "Shipped by Jo Keeper" in words
    assert "Delivered by Kim" in words


MOVES = [("ship", "confirmed", "shipped"), ("deliver", "shipped", "delivered"), ("cancel", "confirmed", "cancelled")]


@pytest.mark.parametrize("operation, state, becomes", MOVES)
def test_a_deed_moves_the_order_once(order_in, press, operation, state, becomes):
    order = order_in(state)
    for _ in range(2):
        assert press(order, operation).startswith(f"The order is {becomes}.")
    order.refresh_from_db()
    assert (order.status, order.transitions.filter(status=becomes).count()) == (becomes, 1)


OFFERED = [
    ("pending", []),
    ("confirmed", ["ship", "cancel"]),
    ("shipped", ["deliver"]),
    ("delivered", []),
    ("cancelled", []),
    ("rejected", []),
]


@pytest.mark.parametrize("state, offered", OFFERED)
def test_only_what_is_possible_is_offered(order_in, page, state, offered):
    order = order_in(state)
    assert re.findall(r'action="[^"]*/explain/(\w+)"', page(order)) == offered


def test_an_overdue_order_can_be_rejected(order_in, page):
    order = order_in("pending", created_at=now() - timedelta(minutes=5))
    assert re.findall(r'action="[^"]*/explain/(\w+)"', page(order)) == ["reject"]


def test_silent_services_are_named_and_the_rest_is_shown(place, neighbours, afterwards, page):
    neighbours.stock = {LAMP: 1}
    place()
    afterwards.product_step = neighbours.user_step = SILENT
    html = page(Order.objects.get())
    assert "product-service and user-service do not answer" in html
    assert "the reservation, names of people" in text_of(html)
    assert f"User {ANN}" in html and "the order itself has no customer" in html


def test_all_services_together_get_no_more_time_than_a_request_has(place, neighbours, afterwards, page, monkeypatch):
    neighbours.stock = {LAMP: 1}
    place()
    assert facts.ALL_PEERS_TIMEOUT < DEFAULT_DEADLINE - 1
    monkeypatch.setattr(facts, "ALL_PEERS_TIMEOUT", 0.1)

    def dawdle(request):
        time.sleep(0.15)
        return problem(404, "not_found")

    afterwards.product_step = dawdle
    before = len(neighbours.asked)
    assert "user-service does not answer" in page(Order.objects.get())
    assert len(neighbours.asked) == before


def test_times_are_in_the_shops_zone_and_the_page_says_so(order_in, page, settings):
    order = order_in("confirmed")
    Order.objects.update(created_at="2026-01-05T11:00:00Z")
    assert "5 Jan 2026, 11:00:00" in page(order) and "Times are in UTC" in page(order)
    settings.SHOP_TIME_ZONE = "Europe/Berlin"
    assert "5 Jan 2026, 12:00:00" in page(order) and "Times are in Europe/Berlin" in page(order)


def test_internals_are_folded(placed, page):
    html = page(placed)
    assert "grep -F" in html[html.index('<details class="internals"') :]
    assert "order-1" not in html[: html.index('<details class="internals"')].replace("order-page", "")


def test_the_parts_that_refresh_have_ids_of_their_own(placed, page):
    html = page(placed)
    live = re.findall(r'id="([\w-]+)" data-live', html)
    assert {"status", "diagnosis", "operations", "timeline", "mails", "items", "as-of"} <= set(live)
    ids = re.findall(r'\bid="([\w-]+)"', html)
    assert len(ids) == len(set(ids))
    assert Page(html).inline == []
