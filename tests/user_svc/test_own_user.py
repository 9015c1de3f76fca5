"""A customer cannot see the accounts of others."""

import pytest

from tests.wire import assert_problem
from user_svc.models import User

pytestmark = pytest.mark.django_db
PROFILE = {"name": "Mallory", "email": "mallory@example.com"}


@pytest.fixture
def mallory(settings, person, as_user):
    """A customer; gives back the headers."""
    settings.PLATFORM_ENV = "production"
    return as_user(person("mallory@example.com"))


@pytest.fixture
def victim(person) -> int:
    return person("victim@example.com", phone="+1 555", address="1 Elm Street")


def walk(pk: int) -> list[str]:
    """Ids near the own one, and invalid ids."""
    odd = ["0", "00", str(2**63 - 1), str(2**63), "9" * 19, "9" * 40, "-1", "+1", "1.0", "1e1", "0x1"]
    odd += ["%00", "1%00", "..%2f1", "%2e%2e%2f1", "..", "%D9%A1", "１", "²", "1%20", "%201", "1;2", "1,2", "*", "null"]
    return [*map(str, range(max(1, pk - 3), pk + 4)), *odd]


def test_no_id_shows_anothers_account(api, mallory, victim):
    own = User.objects.get(email="mallory@example.com").pk
    for each in walk(victim):
        for path in (f"/api/users/{each}", f"/api/users/{each}/"):
            answer = api.get(path, mallory)
            if answer.status_code == 200:
                assert answer.json()["id"] == str(own), path
            else:
                assert answer.status_code in (301, 302, 403, 404), (path, answer.status_code)
            assert "victim" not in answer.content.decode()


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_another_users_account_is_404(api, mallory, victim, method):
    def ask(pk):
        body = () if method == "get" else ({**PROFILE, "email": "new@example.com"},)
        answer = getattr(api, method)(f"/api/users/{pk}", *body, headers=mallory)
        return answer.status_code, {**answer.json(), "requestId": ""}, answer.headers.get("ETag")

    status, body, _ = ask(victim)
    assert (status, body["code"]) == (404, "not_found")
    assert ask(victim) == ask(victim + 1000)
    assert User.objects.get(pk=victim).email == "victim@example.com"


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("value", ["*", '"1"', '"2"'])
def test_conditional_requests_do_not_reveal_accounts(api, mallory, victim, header, value):
    there = api.patch(f"/api/users/{victim}", {"name": "M"}, headers={**mallory, header: value})
    nowhere = api.patch(f"/api/users/{victim + 1000}", {"name": "M"}, headers={**mallory, header: value})
    assert there.status_code == nowhere.status_code == 404


@pytest.mark.parametrize("query", ["", "?search=victim", "?email=victim@example.com", "?limit=200"])
def test_a_customer_cannot_list_users(api, mallory, victim, query):
    assert_problem(api.get(f"/api/users{query}", mallory), 403, "permission_denied")


def test_the_feed_is_not_for_customers(api, mallory):
    assert_problem(api.get("/api/events", mallory), 403, "permission_denied")


@pytest.mark.parametrize("path", ["/api/auth/staff", "/api/auth/staff/1"])
def test_only_services_may_read_staff_accounts(api, mallory, path):
    body = {"email": "victim@example.com", "password": "x", "address": ""}
    answer = api.get(path, mallory) if path.endswith("1") else api.post(path, body, headers=mallory)
    assert_problem(answer, 403, "permission_denied")


def test_ones_own_account_with_leading_zeros_is_ones_own(api, mallory):
    own = User.objects.get(email="mallory@example.com").pk
    assert api.get(f"/api/users/00{own}", mallory).json()["id"] == str(own)


SMUGGLED = {
    "id": "1",
    "isStaff": True,
    "is_staff": True,
    "isSuperuser": True,
    "roles": ["admin"],
    "isActive": False,
    "is_active": False,
    "version": 99,
    "createdAt": "2001-01-01T00:00:00Z",
    "created_at": "2001-01-01T00:00:00Z",
    "updatedAt": "2001-01-01T00:00:00Z",
    "words": "x",
    "sessions": [],
    "password_hash": "x",
    "kept_session": "x",
    "__class__": "x",
}


@pytest.mark.parametrize("method", ["patch", "put"])
def test_fields_that_a_user_may_not_set_are_kept(api, mallory, method):
    before = User.objects.filter(email="mallory@example.com").values().get()
    url = f"/api/users/{before['id']}"
    answered = {"id", "isActive", "createdAt", "updatedAt"}
    answer = getattr(api, method)(url, {**PROFILE, **SMUGGLED}, headers=mallory)
    assert_problem(answer, 400, "invalid", SMUGGLED.keys() - answered)
    sent_back = {name: SMUGGLED[name] for name in answered}
    assert getattr(api, method)(url, {**PROFILE, **sent_back}, headers=mallory).status_code == 200
    after = User.objects.filter(email="mallory@example.com").values().get()
    expected = {**before, "name": "Mallory", "version": 2, "updated_at": after["updated_at"], "words": after["words"]}
    assert after == expected
    assert after["updated_at"] > before["updated_at"]


def test_a_sign_up_cannot_set_roles(api, settings):
    settings.PLATFORM_ENV = "production"
    assert_problem(api.post("/api/users", {**SMUGGLED, **PROFILE}), 400, "invalid", SMUGGLED)
    assert not User.objects.exists()


def test_a_service_changes_no_account(api, settings, victim):
    from tests import people

    settings.PLATFORM_ENV = "production"
    settings.SERVICE_KEYS = people.public_service_keys()
    headers = people.bearer(people.service_token("order-service", "user-service"))
    assert api.get(f"/api/users/{victim}", headers).status_code == 200
    for method in ("put", "patch", "delete"):
        answer = getattr(api, method)(f"/api/users/{victim}", PROFILE, headers=headers)
        assert_problem(answer, 403, "permission_denied")
    other = people.bearer(people.service_token("notification-service", "user-service"))
    assert_problem(api.get("/api/users", other), 403, "permission_denied")
    assert_problem(api.get("/api/users/me", headers), 403, "permission_denied")


def test_the_same_key_by_two_people_is_two_keys(api, mallory, victim, as_user):
    """Two users with the same key get their own answers."""
    body = {"name": "New", "email": "new@example.com"}
    first = api.post("/api/users", body, headers={**mallory, "Idempotency-Key": "k"})
    assert first.status_code == 201
    again = api.post("/api/users", body, headers=as_user(victim, **{"Idempotency-Key": "k"}))
    assert_problem(again, 409, "email_taken")
