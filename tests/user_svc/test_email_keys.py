"""One identity has one form: the key of an address is unique, is looked up, and is what limits count by."""

import importlib

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from platform_core.auth.throttle import Limit, address_of
from tests.user_svc.conftest import PASSWORD
from tests.wire import assert_problem
from user_svc.emails import BadAddress, email_key, guessed_key
from user_svc.models import User

pytestmark = pytest.mark.django_db
SAME = {
    "ann@example.com": ["ANN@example.com", "ann@EXAMPLE.COM", "Ann@Example.com", "ann@ｅxample.com"],
    "ann@xn--bcher-kva.example": ["ann@bücher.example", "ANN@BÜCHER.example", "ann@bu\u0308cher.example"],
    "kelvin@example.com": ["\u212aelvin@example.com"],  # Django's own check takes K (Kelvin) for a K, and İ for an I
}
DIFFERENT = [("ann@fass.example", "ann@faß.example"), ("info@example.com", "İnfo@example.com")]
KEYS_DIFFER = [("info@example.com", "İnfo@example.com"), ("paul@example.com", "\u0440\u0430ul@example.com")]
REFUSED = [
    *('"ann"@example.com', '"a b"@example.com', "ann@[192.0.2.1]", "ann@192.0.2.1", "ann@example", "ann@exam_ple.com"),
    *("a\u200bnn@example.com", "ann\u202e@example.com", "ann@example.com.", "an\u00a0n@example.com"),
    *("ann\x07@example.com", "\ufdfa" * 60 + "@example.com"),
]


@pytest.mark.parametrize("key, spelled", [(key, each) for key, all_ in SAME.items() for each in all_])
def test_other_spellings_of_an_address_are_the_same_account(api, key, spelled):
    assert email_key(key) == email_key(spelled) == key
    assert api.post("/api/users", {"name": "Ann", "email": spelled}).json()["email"] == spelled
    assert_problem(api.post("/api/users", {"name": "Bob", "email": key}), 409, "email_taken")
    assert len(api.client.get("/api/users", {"email": key}).json()["results"]) == 1


@pytest.mark.parametrize("one, other", DIFFERENT)
def test_letters_that_only_look_alike_are_other_accounts(api, one, other):
    for email in (one, other):
        assert api.post("/api/users", {"name": "Ann", "email": email}).status_code == 201


@pytest.mark.parametrize("email", REFUSED)
def test_what_is_no_address_of_a_host_is_refused(api, email):
    assert_problem(api.post("/api/users", {"name": "Ann", "email": email}), 400, "invalid", ["email"])


@given(st.emails())
def test_a_key_is_its_own_key(email):
    try:
        key = email_key(email)
    except BadAddress:
        return
    assert email_key(key) == email_key(email.upper()) == key


@given(st.text(max_size=60))
def test_whatever_is_entered_at_a_sign_in_has_a_key(text):
    assert isinstance(guessed_key(text), str)


@pytest.mark.parametrize("one, other", KEYS_DIFFER)
def test_letters_that_only_look_alike_have_other_keys(one, other):
    assert guessed_key(one) != guessed_key(other)


def test_no_spelling_multiplies_the_attempts(api):
    api.post("/api/users", {"name": "Ann", "email": "iamann@example.com", "password": PASSWORD})
    spelled = ["IAMANN@example.com", "ｉamann@example.com", "iAmAnN@EXAMPLE.COM", "iamann@ｅxample.com"]
    for email in [*spelled, *spelled, *spelled[:2]]:
        answer = api.post("/api/auth/token", {"email": email, "password": "wrong-password"})
        assert_problem(answer, 401, "invalid_credentials")
    for email in [*spelled, "iamann@example.com"]:
        assert api.post("/api/auth/token", {"email": email, "password": PASSWORD}).status_code == 429


def test_an_address_that_is_not_the_accounts_does_not_open_it(api):
    api.post("/api/users", {"name": "Ann", "email": "info@example.com", "password": PASSWORD})
    answer = api.post("/api/auth/token", {"email": "İnfo@example.com", "password": PASSWORD})
    assert_problem(answer, 401, "invalid_credentials")


def test_a_save_of_the_address_alone_saves_its_key_too():
    user = User.objects.create(name="Ann", email="ann@example.com")
    user.email = "Bob@Example.com"
    user.save(update_fields=["email"])
    assert User.objects.get().email_key == "bob@example.com"


def test_an_address_without_its_key_is_refused_by_the_schema():
    with pytest.raises(IntegrityError, match="user_email_key_set"), transaction.atomic():
        User.objects.bulk_create([User(name="Ann", email="ann@example.com")])


def test_the_migration_stops_and_names_addresses_that_are_the_same_now():
    ids = [User.objects.create(name="Ann", email=f"ann{n}@example.com").pk for n in range(3)]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE user_svc_user DROP CONSTRAINT user_email_taken")
    User.objects.filter(pk=ids[0]).update(email="K@example.com")
    User.objects.filter(pk=ids[1]).update(email="\u212a@example.com")
    User.objects.filter(pk=ids[2]).update(email='"ann"@example.com')
    migration = importlib.import_module("user_svc.migrations.0002_email_key")
    with pytest.raises(ValueError) as stopped:
        migration.fill(apps, None)
    assert f"users {ids[0]}, {ids[1]} have the same address" in str(stopped.value)
    assert f"user {ids[2]}: " in str(stopped.value)


def test_the_migration_fills_the_keys():
    pk = User.objects.create(name="Ann", email="Ann@Example.com").pk
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE user_svc_user DROP CONSTRAINT user_email_key_set")
    User.objects.update(email_key="")
    importlib.import_module("user_svc.migrations.0002_email_key").fill(apps, None)
    assert User.objects.get(pk=pk).email_key == "ann@example.com"


FORWARDED = {
    "198.51.100.7": "198.51.100.7",
    "198.51.100.7:5678": "198.51.100.7",
    '"198.51.100.7:1"': "198.51.100.7",
    "[2001:db8::1]:443": "2001:db8::/64",
    '"[2001:db8::1]"': "2001:db8::/64",
    "2001:db8::2": "2001:db8::/64",
    "fe80::1%eth0": "fe80::/64",
    "::ffff:198.51.100.7": "198.51.100.7",
    "[::ffff:198.51.100.7]:99": "198.51.100.7",
    **dict.fromkeys(["unknown", "_hidden", "1.2.3.4:5:6", "[::1", "198.51.100.256", "a" * 99, "-"], "127.0.0.1"),
}


@pytest.mark.parametrize("header, address", FORWARDED.items())
def test_an_address_behind_a_proxy_has_one_form(rf, settings, header, address):
    settings.NUM_PROXIES = 1
    assert address_of(rf.get("/", headers={"X-Forwarded-For": f"203.0.113.9, {header}"})) == address


def test_without_a_proxy_the_header_is_ignored(rf, settings):
    settings.NUM_PROXIES = 0
    assert address_of(rf.get("/", headers={"X-Forwarded-For": "203.0.113.9"})) == "127.0.0.1"


def test_limits_are_kept_by_hash_alone():
    assert "ann" not in Limit("x", "ann@example.com", 1, 1).key
