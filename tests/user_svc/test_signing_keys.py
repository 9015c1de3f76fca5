"""The keys of access tokens: /.well-known/jwks.json, `rotate_keys`, and their storage."""

import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from io import StringIO

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from platform_core.auth import tokens
from platform_core.auth.sealing import BrokenSeal, unseal
from platform_core.auth.tokens import BadToken, identify
from tests.wire import at_once
from user_svc import signing
from user_svc.models import SigningKey

pytestmark = pytest.mark.django_db
URL = "/.well-known/jwks.json"


@pytest.fixture
def token(as_user):
    return lambda: as_user(1)["Authorization"].removeprefix("Bearer ")


def published(api) -> list[str]:
    tokens.forget()
    return [key["kid"] for key in api.get(URL).json()["keys"]]


def is_good(token) -> bool:
    tokens.forget()
    try:
        return bool(identify(token))
    except BadToken:
        return False


def test_the_key_set_is_public_and_has_public_halves_alone(api, token, settings):
    settings.PLATFORM_ENV = "production"
    token()
    answer = api.get(URL)
    assert answer.status_code == 200
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "alg", "use", "kid", "x"}
    assert (key["kty"], key["crv"], key["use"]) == ("OKP", "Ed25519", "sig")


def test_the_key_set_may_be_kept_for_less_than_the_services_keep_it(api):
    assert api.get(URL)["Cache-Control"] == "public, max-age=60"


def test_before_the_first_sign_in_it_is_empty(api):
    assert api.get(URL).json() == {"keys": []}


def test_tokens_of_a_rotated_key_stay_valid(api, token):
    old = token()
    call_command("rotate_keys", stdout=StringIO())
    new = token()
    assert is_good(old)
    assert is_good(new)
    assert len(published(api)) == 2


def test_a_rotated_key_signs_no_more(token):
    call_command("rotate_keys", stdout=StringIO())
    first = SigningKey.objects.get(retired_at=None).kid
    call_command("rotate_keys", stdout=(output := StringIO()))
    assert SigningKey.objects.get(retired_at=None).kid != first
    assert SigningKey.objects.get(retired_at=None).kid in output.getvalue()
    assert is_good(token())


def test_a_retired_key_is_published_until_its_last_token_is_over(api, token):
    token()
    call_command("rotate_keys", stdout=StringIO())
    retired = SigningKey.objects.exclude(retired_at=None)
    retired.update(retired_at=now() - timedelta(seconds=900))
    assert len(published(api)) == 2
    retired.update(retired_at=now() - timedelta(seconds=920))
    assert len(published(api)) == 1
    call_command("rotate_keys", stdout=StringIO())
    assert SigningKey.objects.count() == 2


def test_tokens_of_revoked_keys_are_refused(api, token):
    oldest = token()
    call_command("rotate_keys", stdout=StringIO())
    old = token()
    call_command("rotate_keys", "--revoke", stdout=StringIO())
    assert not is_good(oldest)
    assert not is_good(old)
    assert is_good(token())
    assert len(published(api)) == SigningKey.objects.count() == 1


def kept() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT k::text, encode(sealed, 'escape'), encode(sealed, 'hex') FROM user_svc_signingkey k")
        return str(cursor.fetchall())


def test_a_private_key_cannot_be_read_from_the_database(token, settings, monkeypatch):
    made = []
    real = signing.OKPKey.generate_key
    monkeypatch.setattr(signing.OKPKey, "generate_key", lambda *args: made.append(real(*args)) or made[-1])
    token()
    secret = made[0].as_dict(private=True)["d"]
    row = SigningKey.objects.get()
    assert secret not in kept()
    assert secret.encode().hex() not in kept()
    for guess in (settings.SECRET_KEY, "x" * 50, ""):
        with pytest.raises(InvalidToken):
            Fernet(urlsafe_b64encode(guess.encode().ljust(32)[:32])).decrypt(bytes(row.sealed))
    assert json.loads(unseal("signing keys", bytes(row.sealed).decode()))["d"] == secret
    settings.SECRET_KEY = "another key of fifty characters and more, for sure it is"
    with pytest.raises(BrokenSeal):
        unseal("signing keys", bytes(row.sealed).decode())


def test_a_new_secret_key_causes_a_new_signing_key(api, token, settings):
    old = token()
    settings.SECRET_KEY = "another key of fifty characters and more, for sure it is"
    new = token()
    assert is_good(new)
    assert is_good(old)
    assert SigningKey.objects.count() == 2


def test_a_key_that_cannot_be_decrypted_is_retired(api, token, settings):
    """A leaked SECRET_KEY is replaced. Together with an old copy of the database it still decrypts the old key."""
    old = token()
    settings.SECRET_KEY = "another key of fifty characters and more, for sure it is"
    token()
    SigningKey.objects.exclude(retired_at=None).update(retired_at=now() - timedelta(seconds=920))
    assert not is_good(old)
    assert len(published(api)) == 1


def test_a_key_row_written_by_hand_is_not_used(token):
    SigningKey.objects.create(kid="access.forged", x="AA", sealed=b"{}")
    assert is_good(token())
    assert SigningKey.objects.get(kid="access.forged").retired_at


@pytest.mark.django_db(transaction=True)
def test_processes_that_need_the_first_key_at_once_make_one(token):
    made = at_once([token] * 6)
    assert SigningKey.objects.count() == 1
    assert all(is_good(each) for each in made)


@pytest.mark.django_db(transaction=True)
def test_a_sign_in_while_keys_are_rotated_is_good(token):
    token()
    made = at_once([token, signing.rotate, token, signing.rotate, token])
    assert all(is_good(each) for each in made if each and each.count(".") == 2)
    assert SigningKey.objects.filter(retired_at=None).count() == 1
