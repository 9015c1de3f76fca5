"""The bar of all pages, the search behind it, and the admin's sidebar, by the pages of order-service."""

import json
import os
import re
import time

import pytest
import requests
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from order_svc.models import Order
from platform_core.auth import staff
from platform_core.events.models import Event
from platform_core.models import IdempotencyKey
from platform_core.office import services_health
from platform_core.outbox.models import OutboxMessage
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER
from platform_core.vocabulary import Role
from tests import people
from tests.clients import Browser
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PAGES = ("/admin/", "/admin/order_svc/order/", "/api/", "/api/orders", "/api/docs", "/find", "/nowhere")
OTHERS = [service for service in SERVICES if service is not ORDER]


@pytest.fixture(autouse=True)
def nothing_is_known():
    services_health.forget()
    staff._asked.clear()
    yield
    services_health.forget()


@pytest.fixture
def member(settings, known_callers, peers):
    """A browser that is signed in with the account of a staff member with these roles, in production."""
    settings.PLATFORM_ENV = "production"
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.SECURE_SSL_REDIRECT = False

    def member(*roles):
        user = User.objects.create(username="staff:9", email="sue@example.com", first_name="Sue", is_staff=True)
        user.is_superuser = "admin" in roles
        user.save()
        user.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
        staff._asked[os.getpid(), user.pk, ""] = time.monotonic()
        browser = Browser()
        browser.force_login(user, "platform_core.auth.staff.StaffBackend")
        return browser

    return member


@pytest.fixture
def answers(peers, settings):
    """What the other services answer to a search: ``answers(product=[match])``. None: the service is down."""
    asked = []

    def answers(**found):
        def answer(stem):
            def callback(request):
                asked.append(request.url)
                if found.get(stem, []) is None:
                    raise requests.exceptions.ConnectionError("refused")
                return 200, {}, json.dumps({"results": found.get(stem, [])})

            return callback

        for service in OTHERS:
            base = re.escape(settings.PEER_URLS[service.name])
            peers.add_callback("GET", re.compile(rf"{base}/api/find\?"), callback=answer(service.stem))
        return asked

    return answers


def match(title="Lamp", path="/admin/product_svc/product/7/change/", *, record=False):
    return {"kind": "product", "title": title, "detail": "sku L-7", "path": path, "isRecord": record}


def get(browser, path):
    return browser.get(path, headers={"Accept": BROWSER})


def services_in(page):
    return re.findall(r'data-service="([\w-]+)"', page)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_the_bar(admin_client, path):
    page = get(admin_client, path).content.decode()
    assert page.count('class="office-bar"') == 1
    assert 'action="/find"' in page and 'maxlength="200"' in page
    assert "admin@example.com" in page


def test_the_bar_asks_nobody_and_costs_no_query_of_its_own(admin_client, peers, django_assert_num_queries):
    with django_assert_num_queries(2):  # the session and its user
        get(admin_client, "/api/docs")
    assert not peers.calls


@pytest.mark.parametrize(
    ("role", "services"),
    [
        ("catalog", [PRODUCT, ANALYTICS]),
        ("orders", [PRODUCT, ORDER, NOTIFICATION, ANALYTICS]),
        ("support", [USER, ORDER, NOTIFICATION, ANALYTICS]),
        ("admin", list(SERVICES)),
    ],
)
def test_a_member_sees_the_services_that_the_roles_allow(member, role, services):
    page = get(member(role), "/api/docs").content.decode()
    assert services_in(page) == [service.name for service in services]


def test_a_member_without_pages_here_is_told_where_they_have_some(member):
    page = get(member("catalog"), "/admin/").content.decode()
    told = re.search(r'<p class="office-elsewhere">(.*?)</p>', page, re.DOTALL)[1]
    assert "catalog" in told and "there is nothing to do in order-service" in " ".join(told.split())
    assert 'href="http://127.0.0.1:8002/admin/"' in told


def test_anonymous_visitors_in_production_see_no_service_and_no_search(member):
    page = get(Browser(), "/api/docs").content.decode()
    assert services_in(page) == [] and "/find" not in page
    assert "Sign in" in page


def test_customers_see_no_service_and_no_search(settings, known_callers):
    settings.PLATFORM_ENV = "production"
    page = Browser().get("/api/orders", headers={"Accept": BROWSER, **people.as_user(7)}).content.decode()
    assert services_in(page) == [] and 'action="/find"' not in page


def test_in_development_anonymous_visitors_see_all_services():
    assert services_in(get(Browser(), "/api/docs").content.decode()) == [service.name for service in SERVICES]


def test_a_local_account_sees_its_own_service(admin_client):
    assert services_in(get(admin_client, "/api/docs").content.decode()) == [ORDER.name]


def test_a_page_about_a_silent_database_shows_the_bar_without_asking_it(admin_client, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the database was asked")

    from platform_core.http.errors import Unavailable
    from platform_core.http.problems import problem_response

    request = get(admin_client, "/nowhere").wsgi_request
    monkeypatch.setattr("platform_core.office.bar.viewer_of", refuse)
    assert b"office-bar" in problem_response(Unavailable("The database does not answer."), request).content


# The states of the services


@pytest.fixture
def healths(peers, settings):
    for service in OTHERS:
        answer = {"json": {"status": "ok", "service": service.name}}
        if service is NOTIFICATION:
            answer = {"body": requests.exceptions.ConnectionError("refused")}
        peers.add("GET", settings.PEER_URLS[service.name] + "/health", **answer)
    return peers


def states(answer):
    return {each["service"]: each["status"] for each in answer.json()["services"]}


def test_the_states_are_asked_for_at_once_and_then_known_to_the_pages(api, healths):
    found = states(api.get("/api/services"))
    expected = {service.name: "down" if service is NOTIFICATION else "ok" for service in SERVICES}
    assert found == expected
    page = get(Browser(), "/api/docs").content.decode()
    assert dict(re.findall(r'data-service="([\w-]+)" data-status="(\w+)"', page)) == expected


def test_the_states_are_asked_for_once_in_ten_seconds(api, healths, monkeypatch):
    api.get("/api/services")
    asked = len(healths.calls)
    assert states(api.get("/api/services"))[NOTIFICATION.name] == "down"
    assert len(healths.calls) == asked
    monkeypatch.setattr(services_health, "FRESH_SECONDS", 0.0)
    api.get("/api/services")
    assert len(healths.calls) > asked


def test_while_one_thread_asks_others_get_what_is_known(api, healths):
    with services_health._lock:
        assert set(states(api.get("/api/services")).values()) == {"ok", "unknown"}
    assert not healths.calls


# The search


def test_each_kind_of_text_finds_its_order(admin_client, answers):
    answers()
    Order.objects.create(pk=7, user_id=1, currency="USD", request_id="req-1", caller="user:1", idempotency_key="key-1")
    for text in ("7", "%237", "req-1", "key-1", "%20key-1%20"):
        found = get(admin_client, f"/find?q={text}")
        assert (found.status_code, found["Location"]) == (302, "http://testserver:8003/orders/7/explain"), text


@pytest.mark.parametrize("text", ["0", "٧", "7.0", "-7", "99999999999999999999", "7 OR 1=1", "nothing"])
def test_other_texts_find_no_order(admin_client, answers, text):
    answers()
    Order.objects.create(pk=7, user_id=1, currency="USD")
    found = get(admin_client, f"/find?q={text}")
    assert found.status_code == 200
    assert "Nothing was found" in found.content.decode()


def test_what_another_service_has_is_led_to(member, answers):
    asked = answers(product=[match()])
    found = get(member("orders"), "/find?q=L-7")
    assert (found.status_code, found["Location"]) == (302, "http://127.0.0.1:8002/admin/product_svc/product/7/change/")
    assert len(asked) == len(OTHERS)
    assert all("q=L-7" in url and "role=orders" in url for url in asked)


def test_several_are_listed(member, answers):
    answers(product=[match(), match("Lamp <b>2</b>")])
    page = get(member("orders"), "/find?q=L-7").content.decode()
    assert page.count("http://127.0.0.1:8002/admin/product_svc/product/7/change/") == 2
    assert "<b>2</b>" not in page


def test_what_happened_to_something_does_not_stand_beside_it(member, answers):
    answers(product=[match()], notification=[match("Messages", "/admin/outbox/", record=True)])
    assert get(member("orders"), "/find?q=L-7").status_code == 302


def test_without_a_script_the_list_is_asked_for(member, answers):
    answers(product=[match()])
    assert get(member("orders"), "/find?q=L-7&list=true").status_code == 200


def test_a_service_that_does_not_answer_is_named(member, answers):
    answers(product=[match()], notification=None)
    page = get(member("orders"), "/find?q=L-7").content.decode()
    assert "Lamp" in page and "notification-service did not answer" in page


def test_nothing_found_says_so_and_who_did_not_answer(admin_client, member, answers):
    answers(notification=None)
    page = " ".join(get(member("orders"), "/find?q=L-7").content.decode().split())
    assert "Nothing was found by <q>L-7</q> so far" in page and "notification-service did not answer" in page


def test_names_are_searched_in_the_lists_that_the_person_may_see(member, answers):
    answers()
    page = get(member("orders"), "/find?q=Ann+M%26").content.decode()
    assert ":8003/admin/order_svc/order/?q=Ann+M%26" in page
    assert "/admin/product_svc/product/?q=Ann+M%26" in page and "/admin/user_svc/user/" not in page


def test_a_local_account_searches_its_own_service_alone(member, peers, admin_user):
    local = Browser()
    local.force_login(admin_user, "platform_core.auth.staff.LocalBackend")
    page = get(local, "/find?q=L-7").content.decode()
    assert "only that service was searched" in page
    assert not peers.calls


def test_an_empty_search_asks_nobody(admin_client, peers):
    assert "Type an order number" in get(admin_client, "/find").content.decode()
    assert not peers.calls


@pytest.mark.parametrize("query", ["q=" + "x" * 201, "q=%00", "q=1&x=2", "q=1&list=maybe"])
def test_bad_queries_are_refused(admin_client, query):
    assert get(admin_client, f"/find?{query}").status_code == 400


def test_programs_get_the_list_as_json(api, answers):
    answers(product=[match()])
    body = api.get("/find?q=L-7").json()
    assert [(each["service"], each["title"]) for each in body["results"]] == [("product-service", "Lamp")]
    assert body["unanswered"] == []


@pytest.mark.parametrize(("caller", "status"), [(people.as_user, 403), (None, 401)])
def test_customers_and_strangers_may_not_search(api, production, caller, status):
    headers = caller(7) if caller else {}
    codes = {401: "not_authenticated", 403: "permission_denied"}
    assert_problem(api.get("/find?q=7", headers=headers), status, codes[status])


def seen(api, text, *roles):
    query = "".join(f"&role={role}" for role in roles)
    return [each["title"] for each in api.get(f"/api/find?q={text}{query}").json()["results"]]


@pytest.fixture
def rows():
    Order.objects.create(pk=7, user_id=1, currency="USD", request_id="req-1", caller="user:1", idempotency_key="k")
    common = {"kind": "note", "destination": "there", "aggregate": "order:7", "payload": {}}
    OutboxMessage.objects.create(**common, key="order-7-confirmed", request_id="req-1")
    Event.objects.create(
        epoch=1, txid=1, type="order.confirmed", subject="7", data={}, time=now(), request_id="req-1", traceparent=""
    )
    IdempotencyKey.objects.create(caller="user:1", key="k", path="/api/orders/7/cancel", fingerprint=b"x", status=200)


@pytest.mark.parametrize(
    ("roles", "titles"),
    [
        ((), []),
        (("catalog",), []),
        (("orders",), ["Order 7", "Messages to other services"]),
        (("support",), ["Order 7", "Messages to other services"]),
        (("admin",), ["Order 7", "Events", "Messages to other services"]),
    ],
)
def test_a_service_finds_only_what_the_roles_may_see(api, rows, roles, titles):
    assert seen(api, "req-1", *roles) == titles


def test_a_key_is_found_by_those_who_may_see_keys(api, rows):
    assert seen(api, "k", "orders") == ["Order 7"]
    assert seen(api, "k", "admin") == ["Order 7", "Idempotency key k"]


def test_the_search_of_a_service_is_for_services(api, production):
    assert api.get("/api/find?q=7&role=admin", headers=people.as_user(9, "admin")).status_code == 403
    assert api.get("/api/find?q=7&role=admin", headers=people.as_service(USER, ORDER)).status_code == 200


def test_every_lookup_uses_an_index(api, rows):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        seen(api, "7", *Role)
    lookups = [query["sql"] for query in captured if query["sql"].startswith("SELECT") and " FROM " in query["sql"]]
    assert len(lookups) >= 6
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in lookups:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan" not in plan, f"{sql}\n{plan}"


# Keys in the admin


def key_page(admin_client, row):
    page = admin_client.get(f"/admin/platform_core/idempotencykey/{row.pk}/change/")
    assert page.status_code == 200
    return page.content.decode()


def test_a_key_shows_its_request_its_answer_and_where_it_leads(api, admin_client):
    Order.objects.create(pk=7, user_id=1, currency="USD", status="confirmed", total=20, confirmed_at=now())
    assert api.post("/api/orders/7/cancel", headers={"Idempotency-Key": "k-7"}).status_code == 200
    page = key_page(admin_client, IdempotencyKey.objects.get(key="k-7"))
    assert "POST /api/orders/7/cancel" in page and "anonymous" in page
    assert "&quot;status&quot;: &quot;cancelled&quot;" in page
    assert '<a href="/api/orders/7">/api/orders/7</a>' in page


def test_a_key_shows_no_personal_data_and_no_secret(admin_client):
    body = {
        "id": "5",
        "name": "Ann",
        "email": "ann@example.com",
        "secret": "whsec_x",
        "lines": [{"address": "1 Elm St"}],
    }
    row = IdempotencyKey.objects.create(
        caller="user:1",
        key="k",
        fingerprint=b"x",
        status=201,
        body=json.dumps(body).encode(),
        headers={"Location": "/api/users/5"},
    )
    page = key_page(admin_client, row)
    assert "(hidden)" in page and "/api/users/5" in page
    assert not [text for text in ("Ann", "ann@example.com", "whsec_x", "Elm St") if text in page]


def test_a_key_of_an_earlier_version_says_that_its_request_is_not_recorded(admin_client):
    row = IdempotencyKey.objects.create(caller="c", key="k", fingerprint=b"", status=404)
    page = key_page(admin_client, row)
    assert "not recorded" in page and "none, or erased" in page


# The sidebar


def test_the_sidebar_shows_the_shops_things_first(admin_client):
    groups = admin_client.get("/admin/").context["sidebar_navigation"]
    titles = {group["title"]: [item["title"] for item in group["items"]] for group in groups}
    assert list(titles) == ["Orders", "System"]
    assert titles["Orders"] == ["Orders"]
    assert {"Events", "Outbox messages", "Idempotency keys", "Failed items", "Groups", "Users"} <= set(titles["System"])


def test_the_sidebar_has_only_what_the_roles_may_see(member):
    groups = member("support").get("/admin/").context["sidebar_navigation"]
    assert [item["title"] for group in groups for item in group["items"]] == ["Orders", "Outbox messages"]
