"""Mail to an address that user-service has not verified."""

import json

import pytest

from platform_core.topology import ORDER
from tests import people
from tests.notification_svc.conftest import deliver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def unverified(users):
    ann = {"id": "1", "name": "Ann", "email": "ann@example.com", "emailVerified": False}
    users.step = lambda request: (200, {}, json.dumps(ann))
    return users


@pytest.fixture
def send_as_order_service(api, known_callers, settings):
    def send(**fields):
        body = {"userId": 1, "message": "Thank you.", **fields}
        headers = {**people.as_service(ORDER, settings.SERVICE), "Idempotency-Key": "order-1-confirmed"}
        return api.post("/api/notifications/send", body, headers=headers).json()["id"]

    return send


def shown(api):
    (found,) = api.get("/api/notifications/1").json()["results"]
    return found


@pytest.mark.parametrize("fields", [{}, {"recipient": "ann@example.com"}], ids=["looked up", "given by a service"])
def test_it_fails_at_once(send_as_order_service, unverified, api, mailoutbox, fields):
    send_as_order_service(**fields)
    deliver()
    assert mailoutbox == []
    found = shown(api)
    assert (found["status"], found["attempts"]) == ("failed", 1)
    assert "unverified_recipient" in found["lastError"]


def test_mails_of_services_go_to_the_given_address_of_a_verified_user(send_as_order_service, users, mailoutbox):
    send_as_order_service(recipient="ann.then@example.com")
    deliver()
    assert [mail.to for mail in mailoutbox] == [["ann.then@example.com"]]


def test_a_mail_with_a_token_is_sent_nevertheless(send_as_order_service, unverified, mailoutbox):
    send_as_order_service(recipient="ann@example.com", confidential=True)
    deliver()
    assert len(mailoutbox) == 1


def test_what_a_person_sends_to_an_address_is_sent_there(send, unverified, mailoutbox):
    send(recipient="other@example.com")
    deliver()
    assert len(mailoutbox) == 1
