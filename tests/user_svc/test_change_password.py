"""GET /api/users/me, POST /api/users/me/password, and permissions to change accounts."""

import pytest
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import Group
from django.contrib.auth.models import User as Local

from platform_core.auth import staff
from platform_core.auth.throttle import attempts
from platform_core.events.models import Event
from platform_core.models import Throttle
from tests.admin_pages import act, done_job, url
from tests.user_svc.conftest import PASSWORD
from tests.wire import assert_problem, form_fields
from user_svc import accounts, services
from user_svc.models import Session, User

pytestmark = pytest.mark.django_db
ME = "/api/users/me"
CHANGE = f"{ME}/password"
NEW = "a brand new passphrase"


@pytest.fixture(autouse=True)
def production(settings, request):
    """Callers must authenticate."""
    request.getfixturevalue("account")
    settings.PLATFORM_ENV = "production"


@pytest.fixture
def bearer(session):
    return {"Authorization": f"Bearer {session['access']}"}


@pytest.fixture
def change(api, bearer):
    def change(current=PASSWORD, new=NEW, **headers):
        return api.post(CHANGE, {"current": current, "new": new}, headers={**bearer, **headers})

    return change


def password_is(password: str, email: str = "ann@example.com") -> bool:
    return check_password(password, User.objects.get(email=email).password)


def is_good(api, pair) -> bool:
    return api.post("/api/auth/refresh", {"refresh": pair["refresh"]}).status_code == 200


def test_me_is_the_signed_in_user(api, account, bearer):
    answer = api.get(ME, bearer)
    assert answer.status_code == 200
    assert answer.json()["id"] == account["id"]
    assert answer["ETag"]


def test_me_needs_a_sign_in(api):
    assert_problem(api.get(ME), 401, "not_authenticated")
    assert_problem(api.post(CHANGE, {"current": PASSWORD, "new": NEW}), 401, "not_authenticated")


@pytest.mark.parametrize("gone", [lambda: User.objects.update(is_active=False), lambda: User.objects.all().delete()])
def test_a_deleted_or_disabled_account_is_401(api, bearer, change, gone):
    gone()
    assert_problem(api.get(ME, bearer), 401, "not_authenticated")
    assert change().status_code in (401, 404)


def test_me_needs_a_token_in_development_too(api, settings):
    settings.PLATFORM_ENV = "development"
    assert_problem(api.get(ME), 401, "not_authenticated")
    assert_problem(api.post(CHANGE, {"current": PASSWORD, "new": NEW}), 401, "not_authenticated")


def test_only_the_new_password_is_valid(change, sign_in):
    answer = change()
    assert (answer.status_code, answer.content) == (204, b"")
    assert_problem(sign_in(), 401, "invalid_credentials")
    assert sign_in(password=NEW).status_code == 200


def test_all_other_sessions_end_and_this_one_stays(api, session, sign_in, change):
    others = [sign_in().json() for _ in range(2)]
    assert change().status_code == 204
    assert is_good(api, session)
    assert not [pair for pair in others if is_good(api, pair)]


def test_the_present_password_is_asked_for(api, session, change, sign_in):
    other = sign_in().json()
    errors = assert_problem(change("wrong"), 400, "invalid", ["current"])
    assert errors[0]["code"] == "invalid_credentials"
    assert password_is(PASSWORD)
    assert is_good(api, other)


@pytest.mark.parametrize("new", ["short", "password", "1234567890", "", None, 5, ["x" * 10], "x" * 129, "a\0bcdefghij"])
def test_a_weak_new_password_is_refused(change, new):
    assert_problem(change(new=new), 400, "invalid", ["new"])
    assert password_is(PASSWORD)


@pytest.mark.parametrize("body", [{}, {"current": PASSWORD}, {"new": NEW}, [], None])
def test_half_a_request_changes_nothing(api, bearer, body):
    assert_problem(api.post(CHANGE, body, headers=bearer), 400, "invalid")
    assert password_is(PASSWORD)


def test_it_cannot_be_used_to_guess_the_present_one(change, sign_in):
    for limit in attempts("sign-in", "ann@example.com", "127.0.0.1")[:1]:
        Throttle.objects.create(key=limit.key, count=10, resets_at="2999-01-01T00:00:00Z")
    answer = change("guess")
    assert_problem(answer, 429, "throttled")
    assert int(answer["Retry-After"]) >= 1
    assert_problem(change(), 429, "throttled")
    assert password_is(PASSWORD)


def test_wrong_passwords_here_and_at_sign_in_are_counted_together(change, sign_in):
    change("guess")
    sign_in(password="guess", address="127.0.0.1")
    kept = dict(Throttle.objects.values_list("key", "count"))
    counts = [kept[limit.key] for limit in attempts("sign-in", "ann@example.com", "127.0.0.1")]
    assert counts == [2, 1, 2]  # the account's limit is not that of a session


def test_other_users_are_not_changed(api, change, person):
    bob = person("bob@example.com", password=PASSWORD)
    assert change().status_code == 204
    assert check_password(PASSWORD, User.objects.get(pk=bob).password)


def test_an_id_in_the_body_is_refused(api, bearer, person):
    bob = person("bob@example.com", password=PASSWORD)
    body = {"current": PASSWORD, "new": NEW, "id": bob, "userId": bob, "pk": bob}
    assert_problem(api.post(CHANGE, body, headers=bearer), 400, "invalid", ["id", "userId", "pk"])
    assert check_password(PASSWORD, User.objects.get(pk=bob).password)


def test_the_event_of_a_change_contains_no_values(change):
    change()
    event = Event.objects.first()
    assert event.type == "user.updated"
    assert set(event.data) == {"version", "createdAt", "isActive"}


@pytest.mark.parametrize("method", ["patch", "put"])
@pytest.mark.parametrize("password", [NEW, None])
def test_a_customer_sets_no_password_without_the_present_one(api, account, bearer, method, password):
    body = {"name": "Ann", "email": "ann@example.com", "password": password}
    answer = getattr(api, method)(f"/api/users/{account['id']}", body, headers=bearer)
    errors = assert_problem(answer, 400, "invalid", ["password"])
    assert CHANGE in errors[0]["detail"]
    assert password_is(PASSWORD)


@pytest.mark.parametrize("role", ["support", "orders", "catalog"])
def test_only_admins_may_set_a_customers_password(api, account, as_user, role):
    answer = api.patch(f"/api/users/{account['id']}", {"password": NEW}, headers=as_user(99, role))
    assert answer.status_code in (400, 403, 404)
    assert password_is(PASSWORD)


def test_an_admin_sets_a_password_and_all_sessions_end(api, account, session, as_user):
    answer = api.patch(f"/api/users/{account['id']}", {"password": NEW}, headers=as_user(99, "admin"))
    assert answer.status_code == 200
    assert password_is(NEW)
    assert not is_good(api, session)
    assert not Session.objects.filter(revoked_at=None).exists()


def test_an_admin_changes_other_fields_and_the_session_goes_on(api, account, session, as_user):
    assert api.patch(f"/api/users/{account['id']}", {"name": "A"}, headers=as_user(99, "admin")).status_code == 200
    assert is_good(api, session)


@pytest.mark.parametrize("roles", [["admin"], ["support"], ["catalog", "orders"]], ids=str)
@pytest.mark.parametrize("method", ["patch", "put", "delete"])
def test_support_changes_no_account_of_the_staff(api, person, as_user, roles, method):
    boss = person("boss@example.com", *roles)
    headers = as_user(person("sue@example.com", "support"), "support")
    body = {"name": "Mallory", "email": "mallory@example.com"}
    answer = getattr(api, method)(f"/api/users/{boss}", body, headers=headers)
    assert_problem(answer, 403, "permission_denied")
    assert User.objects.get(pk=boss).email == "boss@example.com"


def test_support_changes_and_deletes_accounts_of_customers_and_its_own(api, person, as_user):
    customer, sue = person("cust@example.com"), person("sue@example.com", "support")
    headers = as_user(sue, "support")
    assert api.patch(f"/api/users/{customer}", {"phone": "1"}, headers=headers).status_code == 200
    assert api.delete(f"/api/users/{customer}", headers=headers).status_code == 204
    assert api.patch(f"/api/users/{sue}", {"phone": "1"}, headers=headers).status_code == 200


@pytest.mark.parametrize("role", ["support", "admin"])
def test_roles_cannot_be_set_through_the_api(api, account, as_user, role):
    body = {"name": "Ann", "email": "ann@example.com", "roles": ["admin"], "role": "admin", "isStaff": True}
    for method in ("patch", "put"):
        answer = getattr(api, method)(f"/api/users/{account['id']}", body, headers=as_user(99, role))
        assert_problem(answer, 400, "invalid", ["roles", "role", "isStaff"])
    assert User.objects.get().roles == []


# The admin's pages.


@pytest.fixture
def support(client, person):
    """A browser that is signed in with the role support."""
    pk = person("sue@example.com", "support")
    shadow = staff.shadow(accounts.staff_account(pk))
    client.force_login(shadow, backend="platform_core.auth.staff.StaffBackend")
    return client


def change_form(client, pk):
    page = client.get(url(User, "change", pk))
    assert page.status_code == 200
    return form_fields(page.content.decode())


def test_in_the_admin_support_changes_a_customer(support, account):
    form = change_form(support, account["id"])
    assert support.post(url(User, "change", account["id"]), {**form, "name": "Anna"}).status_code == 302
    assert User.objects.get(pk=account["id"]).name == "Anna"


def test_in_the_admin_support_disables_a_customer_whose_sessions_end(support, account, api, session):
    form = change_form(support, account["id"])
    del form["is_active"]
    assert support.post(url(User, "change", account["id"]), form).status_code == 302
    assert not is_good(api, session)


def test_in_the_admin_support_gives_no_roles(support, account, person):
    form = change_form(support, account["id"])
    forged = {**form, "roles": ["admin"], "initial-roles": "", "is_superuser": "on", "password": NEW}
    assert support.post(url(User, "change", account["id"]), forged).status_code == 302
    ann = User.objects.get(pk=account["id"])
    assert ann.roles == []
    assert password_is(PASSWORD)


def test_in_the_admin_support_does_not_touch_the_staff(support, person):
    boss = person("boss@example.com", "admin")
    page = url(User, "change", boss)
    assert support.get(page).status_code == 200  # to look at
    forged = {"name": "Mallory", "email": "mallory@example.com", "is_active": "", "roles": []}
    assert support.post(page, forged).status_code == 403
    assert support.post(url(User, "delete", boss), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [boss], "post": "yes"}
    support.post(url(User, "changelist"), chosen)
    unchanged = User.objects.get(pk=boss)
    assert (unchanged.email, unchanged.is_active, unchanged.roles) == ("boss@example.com", True, ["admin"])


def test_in_the_admin_support_cannot_add_users_or_see_local_accounts(support):
    assert support.get(url(User, "add")).status_code == 403
    assert support.post(url(User, "add"), {"name": "M", "email": "m@example.com", "roles": "admin"}).status_code == 403
    for model in (Local, Group):
        assert support.get(url(model, "changelist")).status_code == 403
        assert support.get(url(model, "add")).status_code == 403


def test_in_the_admin_an_admin_gives_roles(admin_client, account):
    form = change_form(admin_client, account["id"])
    answer = admin_client.post(url(User, "change", account["id"]), {**form, "roles": ["support", "orders"]})
    assert answer.status_code == 302
    assert set(User.objects.get(pk=account["id"]).roles) == {"support", "orders"}


def test_in_the_admin_a_shadow_has_no_password_to_change(support):
    body = {"old_password": "!", "new_password1": NEW, "new_password2": NEW}
    support.post("/admin/password_change/", body)
    assert not Local.objects.get(username__startswith="staff:").has_usable_password()


def test_in_the_admin_support_deletes_no_staff_among_many(support, person, account):
    boss = person("boss@example.com", "admin")
    answer = act(support, User, "delete_selected", *User.objects.filter(pk__in=[account["id"], boss]))
    assert "1 with roles will be refused" in answer.content.decode()
    job = done_job(support)
    assert (job.changed, job.refused) == (1, 1)
    assert job.items.get(state="refused").reason == "Only an admin may delete an account with roles."
    assert User.objects.filter(pk=boss).exists()
    assert not User.objects.filter(pk=account["id"]).exists()


def test_a_new_password_changes_the_stamp_of_a_staff_account(person):
    pk = person("sue@example.com", "support")
    before = accounts.staff_account(pk)
    assert before == accounts.staff_account(pk)
    services.update_user(pk, None, name="Sue II")
    assert accounts.staff_account(pk).stamp == before.stamp
    services.update_user(pk, None, password="another good one 42")
    assert accounts.staff_account(pk).stamp != before.stamp
