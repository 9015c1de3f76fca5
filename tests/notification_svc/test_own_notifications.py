"""A customer cannot see the notifications of others."""

import pytest

from notification_svc.models import Notification
from tests.notification_svc.conftest import ANN
from tests.people import as_user, bearer, service_token
from tests.wire import assert_problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("production")]
BOB = 2


@pytest.fixture
def note():
    """Sends a message to a user and returns its id."""

    def note(user: int, **others) -> str:
        common = {"channel": "email", "subject": "Hello", "message": f"secret of {user}"}
        row = Notification.objects.create(user_id=user, **{**common, **others})
        return str(row.pk)

    return note


def ids(answer):
    assert answer.status_code == 200, answer.content
    return {each["id"] for each in answer.json()["results"]}


def test_customers_see_their_own(api, note):
    of_ann, of_bob = note(ANN), note(BOB)
    for user, own in ((ANN, of_ann), (BOB, of_bob)):
        assert ids(api.get("/api/notifications", as_user(user))) == {own}
        assert ids(api.get(f"/api/notifications/{user}", as_user(user))) == {own}


def test_no_id_shows_anothers_messages(api, note):
    note(ANN)
    odd = ["0", str(2**63 - 1), str(2**63), "9" * 40, "-1", "%00", "1%00", "..%2f1", "%2e%2e%2f1", "%D9%A1", "１", "²"]
    for each in ["1", "01", "3", *odd]:
        for path in (f"/api/notifications/{each}", f"/api/notifications/{each}/"):
            answer = api.get(path, as_user(BOB))
            assert answer.status_code in (301, 302, 403, 404), (path, answer.status_code)
            assert "secret" not in answer.content.decode()


def test_another_users_messages_are_404(api, note):
    note(ANN)

    def ask(user):
        answer = api.get(f"/api/notifications/{user}", as_user(BOB))
        return answer.status_code, {**answer.json(), "requestId": ""}

    assert ask(ANN) == ask(999)
    assert ask(ANN)[0] == 404


@pytest.mark.parametrize("query", ["?status=queued", "?type=message", "?channel=email", "?limit=200"])
def test_no_filter_shows_anothers_messages(api, note, query):
    note(ANN, type="message")
    own = note(BOB, type="message")
    assert ids(api.get("/api/notifications" + query, as_user(BOB))) == {own}


@pytest.mark.parametrize("query", ["?userId=1", "?user_id=1", "?user=1"])
def test_there_is_no_filter_by_user(api, note, query):
    assert_problem(api.get("/api/notifications" + query, as_user(BOB)), 400, "invalid")


def test_anothers_cursor_shows_ones_own_messages_alone(api, note):
    for _ in range(3):
        note(ANN)
    own = note(BOB)
    note(ANN)
    page = api.get("/api/notifications?limit=1", as_user(ANN)).json()["next"]
    answer = api.get(page, as_user(BOB))
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert ids(answer) <= {own}


@pytest.mark.parametrize("user", [ANN, BOB])
@pytest.mark.parametrize("roles", [(), ("orders",), ("catalog",)], ids=str)
def test_a_customer_sends_nothing_in_the_shops_name(send, api, user, roles):
    body = {"userId": user, "message": "Click here", "recipient": "victim@example.com"}
    answer = api.post("/api/notifications/send", body, headers=as_user(BOB, *roles))
    assert_problem(answer, 403, "permission_denied")
    assert not Notification.objects.exists()


SMUGGLED = {
    "id": "1000",
    "status": "sent",
    "attempts": 99,
    "lastError": "x",
    "sentAt": "2001-01-01T00:00:00Z",
    "createdAt": "2001-01-01T00:00:00Z",
    "caller": "service:order-service",
    "senderKey": "k",
    "sender_key": "k",
    "fingerprint": "x",
    "version": 99,
}


def test_fields_that_a_sender_may_not_set_are_refused(api):
    body = {**SMUGGLED, "userId": ANN, "message": "Hello"}
    answer = api.post("/api/notifications/send", body, headers=as_user(9, "support"))
    assert_problem(answer, 400, "invalid", SMUGGLED)
    assert not Notification.objects.exists()


def test_fields_that_a_service_may_not_set_are_ignored(api):
    headers = bearer(service_token("order-service", "notification-service"))
    answer = api.post("/api/notifications/send", {**SMUGGLED, "userId": ANN, "message": "Hello"}, headers=headers)
    assert answer.status_code == 201
    row = Notification.objects.get()
    assert (row.status, row.attempts, row.last_error, row.sent_at, row.version) == ("queued", 0, None, None, 1)
    assert row.sender_key is None
    assert row.pk != 1000
    assert row.created_at.year > 2001


def test_order_service_sends_and_no_other_service_does(api):
    body = {"userId": ANN, "message": "Hello"}
    for caller, status in (("order-service", 201), ("product-service", 403), ("analytics-service", 403)):
        headers = bearer(service_token(caller, "notification-service"))
        assert api.post("/api/notifications/send", body, headers=headers).status_code == status
    forged = bearer(service_token("order-service", "product-service"))
    assert_problem(api.post("/api/notifications/send", body, headers=forged), 401, "not_authenticated")


def test_a_key_is_its_callers_own(api):
    """The same key of two senders gives two messages. A new token of a service does not change its keys."""
    body = {"userId": ANN, "message": "Hello"}

    def send(headers):
        answer = api.post("/api/notifications/send", body, headers={**headers, "Idempotency-Key": "k"})
        assert answer.status_code == 201
        return answer.json()["id"]

    service = send(bearer(service_token("order-service", "notification-service")))
    staff = send(as_user(9, "support"))
    other = send(as_user(8, "support"))
    assert len({service, staff, other}) == 3
    assert send(bearer(service_token("order-service", "notification-service", on_behalf_of="7"))) == service
    assert send(as_user(9, "support", "orders")) == staff


def test_support_sees_all_notifications(api, note):
    both = {note(ANN), note(BOB)}
    assert ids(api.get("/api/notifications", as_user(9, "support"))) == both
    assert_problem(api.get(f"/api/notifications/{ANN}", as_user(9, "orders")), 404, "not_found")


@pytest.mark.parametrize(
    "status, error, shown",
    [
        ("queued", "DestinationUnreachable: [Errno 111] Connection refused", "not delivered yet"),
        ("failed", "PermanentFailure: The mail server refuses ann@example.com", "could not be delivered"),
        ("queued", None, None),
    ],
)
def test_customers_are_told_less_of_an_error_than_the_staff(api, note, status, error, shown):
    note(ANN, status=status, last_error=error)
    for path in ("/api/notifications", f"/api/notifications/{ANN}"):
        (of_customer,) = api.get(path, as_user(ANN)).json()["results"]
        (of_staff,) = api.get(path, as_user(9, "support")).json()["results"]
        assert (of_customer["lastError"], of_staff["lastError"]) == (shown, error)
        assert {**of_customer, "lastError": error} == of_staff
