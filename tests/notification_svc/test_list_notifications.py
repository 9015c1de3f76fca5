"""GET /api/notifications and GET /api/notifications/{userId}."""

import pytest

from notification_svc.models import Notification
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT
from tests import people
from tests.wire import assert_problem, ids

pytestmark = pytest.mark.django_db


@pytest.fixture
def three(send):
    """The ids of messages to users 1, 2 and 1."""
    made = [
        send(type="order_confirmed").json()["id"],
        send(userId=2, channel="log", type="order_shipped").json()["id"],
        send(channel="log").json()["id"],
    ]
    for pk, status in zip(made, ["sent", "failed", "queued"], strict=True):
        Notification.objects.filter(pk=pk).update(status=status)
    return made


@pytest.mark.parametrize(
    "query, expected",
    [
        ("", [2, 1, 0]),
        ("status=sent", [0]),
        ("status=queued", [2]),
        ("type=order_shipped", [1]),
        ("type=unheard_of", []),
        ("channel=log", [2, 1]),
        ("channel=email", [0]),
        ("channel=log&status=failed&type=order_shipped", [1]),
        ("channel=log&status=sent", []),
    ],
)
def test_filters_select_notifications_newest_first(api, three, query, expected):
    assert ids(api.get(f"/api/notifications?{query}")) == [three[n] for n in expected]


@pytest.mark.parametrize(
    "query, field",
    [
        ("status=unheard-of", "status"),
        ("status=", "status"),
        ("type=Order%21", "type"),
        ("channel=sms", "channel"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("cursor=garbage", "cursor"),
        ("userId=1", "userId"),
        ("senderKey=", "senderKey"),
        ("senderKey=%00", "senderKey"),
        ("senderKey=" + "k" * 256, "senderKey"),
    ],
)
def test_a_malformed_or_unknown_parameter_is_refused(api, query, field):
    assert_problem(api.get(f"/api/notifications?{query}"), 400, "invalid", [field])


def test_a_message_is_found_by_the_key_it_was_sent_with(api, send):
    send(), send(key="order-12-confirmed")
    mine = send(key="order-1-confirmed").json()["id"]
    assert ids(api.get("/api/notifications?senderKey=order-1-confirmed")) == [mine]
    assert ids(api.get("/api/notifications?senderKey=order-1-confirmed&status=sent")) == []
    assert ids(api.get("/api/notifications?senderKey=order-1")) == []


def test_a_service_finds_what_it_sent_itself_and_nothing_else(api, settings, send):
    settings.SERVICE_KEYS, settings.PLATFORM_ENV = people.public_service_keys(), "production"
    order_service = people.as_service(ORDER, NOTIFICATION)
    body = {"userId": 1, "message": "Hello"}
    mine = api.post("/api/notifications/send", body, headers={**order_service, "Idempotency-Key": "k-1"}).json()["id"]
    Notification.objects.create(user_id=1, type="x", channel="log", message="x", caller="user:7", sender_key="k-1")
    for query in ("", "?senderKey=k-1"):
        assert ids(api.get(f"/api/notifications{query}", headers=order_service)) == [mine]
    assert len(ids(api.get("/api/notifications", headers=people.as_service(ANALYTICS, NOTIFICATION)))) == 2, (
        "all of them"
    )
    product_service = people.as_service(PRODUCT, NOTIFICATION)
    assert_problem(api.get("/api/notifications?senderKey=k-1", headers=product_service), 403, "permission_denied")


def test_a_users_notifications_newest_first(api, send):
    first, second = send().json(), send(message="Again").json()
    send(userId=2)
    assert api.get("/api/notifications/1").json() == {"results": [second, first], "next": None, "previous": None}
    assert api.get("/api/notifications/1/").json() == api.get("/api/notifications/1").json()


def test_an_unknown_user_has_none(api, three):
    assert api.get("/api/notifications/404").json() == {"results": [], "next": None, "previous": None}


@pytest.mark.parametrize("user_id", [str(2**63), "9" * 40, "x", "-1", "1.5", "١"])
def test_an_invalid_user_id_is_404(api, user_id):
    assert_problem(api.get(f"/api/notifications/{user_id}"), 404, "not_found")


@pytest.mark.parametrize("path", ["/api/notifications", "/api/notifications/1"])
def test_pages_hold_every_notification_once_forth_and_back(api, send, path):
    made = [send().json()["id"] for _ in range(5)][::-1]
    first = api.get(f"{path}?limit=2")
    second = api.get(first.json()["next"])
    third = api.get(second.json()["next"])
    assert ids(first) + ids(second) + ids(third) == made
    assert third.json()["next"] is None
    assert api.get(third.json()["previous"]).json()["results"] == second.json()["results"]
    assert api.get(second.json()["previous"]).json()["results"] == first.json()["results"]


@pytest.mark.parametrize("query", ["status=sent", "limit=0", "cursor=x"])
def test_a_users_list_takes_the_page_parameters_alone(api, query):
    assert_problem(api.get(f"/api/notifications/1?{query}"), 400, "invalid", [query.split("=")[0]])


@pytest.mark.parametrize("path", ["/api/notifications", "/api/notifications/1"])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_lists_are_only_read(api, path, method):
    assert_problem(getattr(api, method)(path), 405, "method_not_allowed")
