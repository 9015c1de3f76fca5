"""The API in a browser, by the pages of order-service."""

import html
import json
import re

import pytest
from django.test import RequestFactory
from django.utils.timezone import now
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication, SessionAuthentication

from order_svc.models import Order, OrderLine
from platform_core.api.browsable import FormRenderer
from platform_core.api.fields import StringField
from platform_core.api.views import ResourceViewSet
from platform_core.http.problems import coded, problem_response
from platform_core.outbox.models import OutboxMessage
from tests import people
from tests.clients import Browser

pytestmark = pytest.mark.django_db
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
USER = "http://127.0.0.1:8001/api/users/1"


@pytest.fixture
def browser(client):
    """Requests a page as a browser does."""

    def ask(method, path, body=None, content_type=None):
        options = {"content_type": content_type} if content_type else {}
        answer = getattr(client, method)(path, body, headers={"Accept": BROWSER}, **options)
        answer.page = html.unescape(
            re.sub(r"<(?!input|textarea|option|a |form|/textarea)[^>]*>", "", answer.content.decode())
        )
        return answer

    return ask


def resource_in(answer):
    """The resource that the page shows, as text."""
    shown = re.search(r'<div class="response-info".*?<pre[^>]*>(.*?)</pre>', answer.content.decode(), re.DOTALL)[1]
    return html.unescape(re.sub(r"<[^>]*>", "", shown))


@pytest.fixture
def order():
    order = Order.objects.create(user_id=1, currency="USD", status="confirmed", total=20, confirmed_at=now())
    OrderLine.objects.create(order=order, product_id=11, quantity=2, name="<b>Lamp</b>", unit_price=10, subtotal=20)
    return order


@pytest.fixture
def neighbours(peers):
    peers.get(USER, json={"id": "1", "name": "Ann", "email": "ann@example.com"})

    def reserve(request):
        items = [{**item, "name": "Lamp", "unitPrice": 10} for item in json.loads(request.body)["items"]]
        return 201, {}, json.dumps({"orderId": "1", "status": "reserved", "items": items})

    peers.add_callback("PUT", re.compile(r"http://127\.0\.0\.1:8002/api/stock-reservations/\d+"), callback=reserve)
    return peers


@pytest.fixture
def signed_in(admin_user, monkeypatch):
    """Requests a page with an admin session that the API accepts."""
    monkeypatch.setattr(ResourceViewSet, "authentication_classes", [SessionAuthentication])
    client = Browser(forges=True)
    client.force_login(admin_user)

    def ask(method, path, body=None, **headers):
        return getattr(client, method)(path, body, headers={"Accept": BROWSER, **headers})

    return ask


def token_in(html):
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', html)[1]


def content_of_raw_form(page):
    return re.search(r'<textarea name="_content"[^>]*>(.*?)</textarea>', page, re.DOTALL)[1].strip()


def test_the_root_lists_the_routes(browser):
    page = browser("get", "/api/").page
    assert "order-service" in page
    for path in ("/api/orders", "/api/events", "/api/schema", "/api/docs"):
        assert f'href="http://testserver{path}"' in page


def test_a_page_needs_no_other_host_and_its_files_are_there(browser, client, order):
    page = browser("get", "/api/orders").content.decode()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!testserver)[^"]*"', page)
    resources = re.findall(r'(?:src|href)="(/static/[^"]*)"', page)
    assert len(resources) > 5
    assert {client.get(resource).status_code for resource in resources} == {200}


def test_html_in_data_is_escaped(browser, order):
    page = browser("get", f"/api/orders/{order.pk}").content.decode()
    assert "&lt;b&gt;Lamp&lt;/b&gt;" in page
    assert "<b>Lamp</b>" not in page


def test_pages_of_a_list_are_linked(browser, order):
    Order.objects.create(user_id=2, currency="USD")
    first = browser("get", "/api/orders?limit=1")
    link = re.search(r'rel="next" href="([^"]*)"', first.page)[1]
    second = browser("get", link.removeprefix("http://testserver"))
    assert f'"id": "{order.pk}"' in resource_in(second)
    assert 'rel="prev"' in second.page
    assert 'rel="next"' not in second.page
    assert f'<a href="{link}" rel="nofollow">' in first.page


def test_a_list_has_a_form_for_its_filters(browser, order):
    page = browser("get", "/api/orders?status=confirmed").page
    form = page[page.index('id="filters"') :]
    for name in ("limit", "userId", "createdAfter", "createdBefore"):
        assert f'name="{name}"' in form
    assert re.search(r'<option value="confirmed" selected\s*>', form)
    assert 'id="filters"' not in browser("get", f"/api/orders/{order.pk}").page


def test_an_order_is_placed_by_the_html_form(browser, neighbours):
    answer = browser("post", "/api/orders", {"userId": "1", "productId": "11", "quantity": "2"})
    assert answer.status_code == 201
    order = Order.objects.get()
    assert order.status == "confirmed"
    assert f'<a href="/api/orders/{order.pk}">' in answer.page
    assert "HTTP 201 Created" in answer.page


def test_an_order_is_placed_by_the_example_in_the_raw_form(browser, neighbours):
    example = content_of_raw_form(browser("get", "/api/orders").page)
    answer = browser("post", "/api/orders", example, "application/json")
    assert answer.status_code == 201
    assert OrderLine.objects.count() == 2


def test_refused_values_stay_in_the_form_with_their_errors(browser):
    answer = browser("post", "/api/orders", {"userId": "1", "productId": "eleven", "quantity": "2"})
    assert answer.status_code == 400
    assert 'value="eleven"' in answer.page
    assert answer.page.count("Expected an id") >= 2  # in the problem and at the field
    assert "application/problem+json" in answer.page
    raw = browser(
        "post", "/api/orders", '{"userId": 1, "items": [{"productId": 7, "quantity": 0}]}', "application/json"
    )
    assert raw.status_code == 400
    assert '"productId": 7' in content_of_raw_form(raw.page)


@pytest.mark.parametrize("body", ['{"userId":', "[]", '"text"', "null", "\xff"])
def test_browsers_get_a_page_for_an_unreadable_body(browser, body):
    answer = browser("post", "/api/orders", body, "application/json")
    assert answer.status_code == 400
    assert "HTTP 400 Bad Request" in answer.page


def buttons_of(answer):
    return re.findall(r'<form class="button-form" action="[^"]*/(\w+)" method="POST">', answer.page)


def test_an_order_is_moved_by_buttons(browser, order):
    shown = browser("get", f"/api/orders/{order.pk}")
    assert f'action="http://testserver/api/orders/{order.pk}/cancel" method="POST">' in shown.page
    assert buttons_of(shown) == ["cancel", "ship"]
    links = re.findall(rf'<a href="http://testserver/api/orders/{order.pk}/(\w+)">', shown.page)
    assert links == ["explain"]  # operations with a button are not links
    shipped = browser("post", f"/api/orders/{order.pk}/ship")
    assert shipped.status_code == 200
    assert '"status": "shipped"' in shipped.page
    assert OutboxMessage.objects.get().key == f"order-{order.pk}-shipped"
    refused = browser("post", f"/api/orders/{order.pk}/cancel")
    assert refused.status_code == 409
    assert "invalid_transition" in refused.page


@pytest.mark.parametrize(("status", "offered"), [("pending", []), ("shipped", ["deliver"]), ("delivered", [])])
def test_only_operations_that_are_possible_have_a_button(browser, order, status, offered):
    Order.objects.update(status=status)
    assert buttons_of(browser("get", f"/api/orders/{order.pk}")) == offered


def test_only_operations_that_the_role_may_do_have_a_button(browser, order, known_callers):
    headers = people.as_user(9, "support")
    page = Browser().get(f"/api/orders/{order.pk}", headers={"Accept": BROWSER, **headers}).content.decode()
    assert re.findall(r'<form class="button-form" action="[^"]*/(\w+)" method="POST">', page) == ["cancel"]


def test_ids_lead_to_what_they_name(browser, order):
    one = browser("get", f"/api/orders/{order.pk}").content.decode()
    assert '<a href="http://testserver:8001/api/users/1">1</a>' in one
    assert '<a href="http://testserver:8002/api/products/11">11</a>' in one
    rows = browser("get", "/api/orders").content.decode()
    assert f'<a href="http://testserver/api/orders/{order.pk}">{order.pk}</a>' in rows
    assert "</a>" not in content_of_raw_form(rows)


def test_a_text_that_looks_like_an_id_is_not_linked(browser, order):
    OrderLine.objects.update(name='x", "userId": "5')
    page = browser("get", f"/api/orders/{order.pk}").content.decode()
    assert "/api/users/5" not in page


def test_each_field_of_a_form_has_a_label_of_its_own(browser, order):
    page = browser("get", "/api/orders").content.decode()
    fields = re.findall(r'<(?:input|select|textarea)\b(?![^>]*type="hidden")[^>]*>', page)
    ids = [re.search(r'\sid="([^"]+)"', field)[1] for field in fields]
    assert len(ids) > 8 and len(set(ids)) == len(ids)
    assert set(ids) <= set(re.findall(r'<label[^>]*\sfor="([^"]+)"', page))
    assert '<html lang="en">' in page


def test_operations_without_a_body_have_no_form(browser, order):
    answer = browser("get", f"/api/orders/{order.pk}/cancel")
    assert answer.status_code == 405
    assert "<textarea" not in answer.page


@pytest.mark.parametrize(
    ("path", "status"), [("/api/orders/404", 404), ("/api/orders?limit=x", 400), ("/api/events?limit=0", 400)]
)
def test_errors_are_shown_on_the_page(browser, path, status):
    answer = browser("get", path)
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert f"HTTP {status}" in answer.page
    assert "requestId" in answer.page


def test_events_are_shown_as_the_media_type_that_clients_get(browser):
    assert "application/cloudevents-batch+json" in browser("get", "/api/events").page


def test_a_browser_keeps_no_page_by_the_version_of_the_resource(browser, client, order):
    """After an upgrade the page differs although the resource is the same."""
    assert not browser("get", f"/api/orders/{order.pk}").has_header("ETag")
    assert client.get(f"/api/orders/{order.pk}").has_header("ETag")
    unchanged = client.get(f"/api/orders/{order.pk}", headers={"Accept": BROWSER, "If-None-Match": '"1"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


@pytest.mark.parametrize("path", ["/nowhere", "/api/nowhere", "/admin2"])
def test_an_unknown_path_is_a_page_for_browsers_and_a_problem_for_programs(browser, client, path):
    page = browser("get", path)
    assert (page.status_code, page["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "404 Not Found" in page.page
    for accept in ("*/*", "application/json"):
        answer = client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_programs_get_json_even_if_they_do_not_ask_for_it(client, order):
    assert client.get("/api/orders", headers={"Accept": "*/*"})["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/1", "/api/orders/1/cancel", "/api/events", "/api/"])
def test_options_can_be_asked_for_and_look_nothing_up(browser, django_assert_num_queries, path):
    with django_assert_num_queries(0):
        answer = browser("options", path)
    assert answer.status_code == 200
    assert "OPTIONS" in answer["Allow"]


def test_anonymous_browsers_sign_in_and_return_to_the_page(browser, client, admin_user):
    page = browser("get", "/api/orders?status=pending&limit=5").page
    link = re.search(r'<a href="([^"]*)"[^>]*>Sign in', page)[1]
    assert link == "/admin/login/?next=%2Fapi%2Forders%3Fstatus%3Dpending%26limit%3D5"
    assert "Sign out" not in page
    back = client.post(link, {"username": "admin", "password": "password"})
    assert (back.status_code, back["Location"]) == (302, "/api/orders?status=pending&limit=5")


def test_a_signed_in_user_is_named_and_can_sign_out_on_the_page(signed_in):
    page = signed_in("get", "/api/orders?limit=5").content.decode()
    assert "Sign in" not in page
    assert '<span class="office-name">admin@example.com</span>' in page
    assert '<form action="/admin/logout/" method="post">' in page
    form = {"csrfmiddlewaretoken": token_in(page), "next": re.search(r'name="next" value="([^"]*)"', page)[1]}
    assert signed_in("post", "/admin/logout/", {"next": form["next"]}).status_code == 403
    back = signed_in("post", "/admin/logout/", form)
    assert (back.status_code, back["Location"]) == (302, "/api/orders?limit=5")
    assert "Sign in" in signed_in("get", "/api/orders").content.decode()


def test_a_caller_with_a_token_is_named_and_has_no_sign_out_button(browser, monkeypatch):
    class Bearer:
        is_authenticated = True

        def __str__(self):
            return "<service> shop"

    class ByToken(BaseAuthentication):
        def authenticate(self, request):
            return Bearer(), None

    monkeypatch.setattr(ResourceViewSet, "authentication_classes", [ByToken])
    page = browser("get", "/api/orders").content.decode()
    assert '<span class="office-name">&lt;service&gt; shop</span>' in page
    assert "Sign out" not in page
    assert "Sign in" not in page


def test_buttons_and_forms_of_signed_in_users_have_csrf_tokens(signed_in, order, neighbours):
    path = f"/api/orders/{order.pk}/ship"
    page = signed_in("get", f"/api/orders/{order.pk}").content.decode()
    button = re.search(rf'<form class="button-form" action="[^"]*{path}" method="POST">.*?</form>', page, re.DOTALL)[0]
    assert signed_in("post", path).status_code == 403
    assert signed_in("post", path, {"csrfmiddlewaretoken": token_in(button)}).status_code == 200
    new = {"userId": "1", "productId": "11", "quantity": "2"}
    assert signed_in("post", "/api/orders", new).status_code == 403
    page = signed_in("get", "/api/orders").content.decode()
    assert signed_in("post", "/api/orders", {**new, "csrfmiddlewaretoken": token_in(page)}).status_code == 201


def test_page_scripts_get_the_csrf_token(signed_in, order):
    page = signed_in("get", f"/api/orders/{order.pk}").content.decode()
    csrf = json.loads(re.search(r'<script type="application/json" id="drf_csrf">(.*?)</script>', page, re.DOTALL)[1])
    assert csrf["csrfHeaderName"].lower() == "x-csrftoken"
    path = f"/api/orders/{order.pk}/ship"
    assert signed_in("post", path, **{csrf["csrfHeaderName"]: csrf["csrfToken"]}).status_code == 200


@pytest.mark.parametrize(("status", "is_asked"), [(401, True), (403, False)])
def test_a_page_that_needs_a_sign_in_links_to_it(status, is_asked):
    request = RequestFactory().get("/metrics?x=1&y=2", headers={"Accept": BROWSER})
    page = problem_response(coded(status, "refused", "Not like this."), request).content.decode()
    assert ('<a href="/admin/login/?next=%2Fmetrics%3Fx%3D1%26y%3D2">Sign in</a>' in page) is is_asked


def test_a_form_has_a_fitting_input_for_each_field():
    class Tag(serializers.Serializer):
        word = StringField()

    class Note(serializers.Serializer):
        title = StringField(help_text="One `line`.")
        text = StringField(one_line=False)
        at = serializers.DateTimeField()
        secret = StringField(style={"input_type": "password"})
        tags = Tag(many=True)

    note = Note(data={"title": "A", "text": "B", "at": "2030-01-01T00:00:00Z", "secret": "C", "tags": []})
    note.is_valid()
    form = FormRenderer().render(note.data, "text/html", {"style": {"template_pack": "rest_framework/vertical/"}})
    assert re.findall(r'<(?:input|textarea)\s+name="(\w+)"', form) == ["title", "text", "at", "secret"]
    assert re.findall(r"<label[^>]*>\s*(\w+)\s*</label>", form) == ["title", "text", "at", "secret"]
    assert re.search(r'<textarea\s+name="text"', form)
    assert re.search(r'name="at"[^>]*type="text"', form)
    assert not re.search(r'name="secret"[^>]*value="[^"]', form)
    assert "One <code>line</code>." in form
    assert "Lists are not" not in form
