"""POST /api/notifications/send."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notification_svc.models import Notification
from platform_core.outbox.models import OutboxMessage
from tests.notification_svc.conftest import ANN, HELLO, NOBODY
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
FIELDS = {"id", "userId", "type", "channel", "recipient", "subject", "message", "status", "attempts", "lastError"}


def test_it_answers_201_with_the_queued_notification(send):
    answer = send()
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == FIELDS | {"createdAt", "sentAt"}
    assert isinstance(body["id"], str) and body["id"].isdigit()
    assert abs(datetime.fromisoformat(body["createdAt"]) - datetime.now(UTC)).total_seconds() < 60
    assert body["createdAt"].endswith("Z")
    expected = {"userId": "1", "channel": "email", "recipient": "", "subject": "Hello", "message": HELLO["message"]}
    assert body | expected == body
    assert (body["status"], body["attempts"], body["lastError"], body["sentAt"]) == ("queued", 0, None, None)


def test_the_smallest_valid_message(send):
    body = send({"userId": ANN, "message": "Hi"}).json()
    assert (body["type"], body["channel"], body["subject"], body["recipient"]) == ("message", "email", "", "")


def test_all_fields_of_a_message_are_accepted(send):
    everything = {
        "userId": "1",
        "message": " first\n\tsecond 🙂 ",
        "subject": "Grüße",
        "type": "order_confirmed.v2",
        "channel": "log",
        "recipient": "console",
    }
    body = send(everything).json()
    assert body | everything == body


@pytest.mark.parametrize("path", ["/api/notifications/send", "/api/notifications/send/"])
@pytest.mark.parametrize("user_id", [1, "1", "001"])
def test_a_user_id_is_a_string_or_a_number(api, path, user_id):
    assert api.post(path, {**HELLO, "userId": user_id}).json()["userId"] == "1"


def test_a_user_need_not_be_known_yet(send, users):
    assert send(userId=NOBODY).status_code == 201
    assert not users.asked


@pytest.mark.parametrize("field", ["subject", "recipient"])
@pytest.mark.parametrize("nothing", [None, "", "   "])
def test_omitted_fields_are_empty(send, field, nothing):
    answer = send(**{field: nothing})
    assert answer.status_code == 201
    assert answer.json()[field] == ""


INVALID = [
    ("userId", ["", "x", "-1", -1, 1.5, True, None, [], {}, 2**63, "١"]),
    ("message", ["", " ", "\n\t ", None, 5, 1.5, True, [], {}, ["Hi"], "x" * 32_769, "a\x00b"]),
    ("subject", ["two\nlines", "two\rlines", "a\r\nBcc: everybody@example.com", "a\x00b", "x" * 201, 5, True, [], {}]),
    ("type", ["Order", "1st", "two words", "a-b", "", None, "a" * 65, "é", ".a", "a\nb", 5, [], {}]),
    ("channel", ["sms", "EMAIL", "", None, 5, [], {}]),
    ("recipient", ["ann", "ann@", "@example.com", "a b@example.com", "a@x.org, b@x.org", "a@x.org\nBcc: b@x.org"]),
    ("data", [None, [], "x", 5, True, [{}], "{}", {"a": "x" * 16_376 + "é"}]),
    ("recipient", ["<ann@example.com>", "Ann <ann@example.com>", "x" * 250 + "@x.org", 5, True, [], {}]),
]


@pytest.mark.parametrize("field, value", [(field, value) for field, values in INVALID for value in values])
def test_malformed_fields_are_reported_by_name(send, field, value):
    assert_problem(send(**{field: value}), 400, "invalid", [field])
    assert not Notification.objects.exists()
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize("field", ["userId", "message"])
def test_missing_fields_are_reported_by_name(send, field):
    (error,) = assert_problem(send({k: v for k, v in HELLO.items() if k != field}), 400, "invalid", [field])
    assert error["code"] == "required"


def test_all_validation_errors_are_reported_at_once(send):
    assert_problem(send({"channel": "sms", "type": "!"}), 400, "invalid", ["userId", "message", "channel", "type"])


@pytest.mark.parametrize("body", [[], [HELLO], "Hello", 5, None])
def test_a_body_that_is_no_object_is_refused(send, api, body):
    assert api.post("/api/notifications/send", body).status_code == 400


@pytest.mark.parametrize(
    "field, value",
    [
        ("message", "x" * 32_768),
        ("subject", "x" * 200),
        ("type", "a" * 64),
        ("recipient", "ann+tag@sub.example.com"),
        ("recipient", "a" * 64 + "@" + "b" * 60 + ".example.com"),
    ],
)
def test_the_longest_that_is_allowed(send, field, value):
    answer = send(**{field: value})
    assert answer.status_code == 201
    assert answer.json()[field] == value


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"lines": [{"name": "Lamp", "price": 19.99}], "nothing": None},
        {"a": "x" * 16_376},
        {"nul": "a\x00b", "big": 10**400, "": {"": []}},
    ],
    ids=["empty", "lines", "16 KiB", "odd"],
)
def test_data_is_stored_as_it_was_given(send, data):
    answer = send(data=data)
    assert answer.status_code == 201
    assert "data" not in answer.json()
    assert json.loads(Notification.objects.get().data) == data


def test_a_message_without_data_has_none(send):
    assert send().status_code == 201
    assert Notification.objects.get().data == ""


@pytest.mark.parametrize("recipient", ["console", "#shop on irc", "5"])
def test_the_log_channel_accepts_any_recipient(send, recipient):
    assert send(channel="log", recipient=recipient).json()["recipient"] == recipient


@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.just("email")
            for name in ("userId", "message", "subject", "type", "channel", "recipient", "data", "more")
        },
    )
)
def test_any_body_gives_a_valid_response(send, body):
    assert send(body).status_code in (201, 400)


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_only_a_post_sends(api, method):
    assert_problem(getattr(api, method)("/api/notifications/send"), 405, "method_not_allowed")
