"""Access tokens: valid ones are accepted, and all others are refused."""

import hashlib
import hmac
import json
import time
from datetime import timedelta

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from platform_core.auth import jwks_cache as keysets
from platform_core.auth import tokens
from platform_core.auth.identity import Kind
from platform_core.auth.jwks_cache import KeySet
from platform_core.auth.tokens import BadToken, identify
from platform_core.http import context
from platform_core.vocabulary import Role
from tests import people
from tests.people import (
    as_user,
    bearer,
    encoded,
    sealed,
    service_claims,
    service_token,
    signed,
    user_claims,
    user_token,
)
from tests.wire import assert_problem, at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("production")]
ORDERS = "/api/orders"
KEYS_URL = "/.well-known/jwks.json"
STRANGER = OKPKey.generate_key("Ed25519", {"kid": people.KEY.kid})
PUBLIC = people.KEY.as_dict(private=False)


def hmac_token(secret: bytes, alg: str = "HS256") -> str:
    header = json.dumps({"alg": alg, "kid": people.KEY.kid, "typ": "at+jwt"})
    message = f"{encoded(header)}.{encoded(json.dumps(user_claims()))}"
    return f"{message}.{encoded(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"


def unsigned(alg: str) -> str:
    header = json.dumps({"alg": alg, "kid": people.KEY.kid, "typ": "at+jwt"})
    return f"{encoded(header)}.{encoded(json.dumps(user_claims()))}."


def with_another_payload() -> str:
    head, _, signature = user_token(1).split(".")
    return f"{head}.{encoded(json.dumps(user_claims(2)))}.{signature}"


def in_seconds(seconds: float) -> float:
    return int(time.time()) + seconds


def user_signed_by(service: str, **header):
    return signed(user_claims(), people.SERVICE_KEYS[service], **header)


def service_signed(claims, key, **header):
    return signed(claims, key, typ="service+jwt", **header)


SERVICE = service_claims("analytics-service", "order-service")
FORGED = {
    "no algorithm": lambda: unsigned("none"),
    "no algorithm, in capitals": lambda: unsigned("None"),
    "the public key as a secret": lambda: hmac_token(PUBLIC["x"].encode()),
    "the public key's JSON as a secret": lambda: hmac_token(json.dumps(PUBLIC).encode()),
    "the public key in PEM as a secret": lambda: hmac_token(people.KEY.as_pem(private=False)),
    "an HMAC that claims to be a signature": lambda: hmac_token(PUBLIC["x"].encode(), "Ed25519"),
    "the older name of the algorithm": lambda: signed(user_claims(), alg="EdDSA"),
    "another algorithm": lambda: signed(user_claims(), alg="RS256"),
    "an unheard-of algorithm": lambda: signed(user_claims(), alg="XX"),
    "an algorithm that is none": lambda: signed(user_claims(), alg=["Ed25519"]),
    "an algorithm left out": lambda: signed(user_claims(), alg=None),
    "another key with the same id": lambda: signed(user_claims(), STRANGER),
    "another payload": with_another_payload,
    "no signature": lambda: user_token().rpartition(".")[0] + ".",
    "an unknown key": lambda: signed(user_claims(), kid="access.other"),
    "no key id": lambda: signed(user_claims(), kid=None),
    "a key id that is a list": lambda: signed(user_claims(), kid=[people.KEY.kid]),
    "a key id that is a path": lambda: signed(user_claims(), kid="../../../../dev/null"),
    "a key of its own": lambda: signed(user_claims(), STRANGER, kid=None, jwk=STRANGER.as_dict(private=False)),
    "a key of its own under a known id": lambda: signed(user_claims(), STRANGER, jwk=STRANGER.as_dict(private=False)),
    "the address of a key set": lambda: signed(user_claims(), STRANGER, jku="http://127.0.0.1:1/jwks.json"),
    "the address of a certificate": lambda: signed(user_claims(), STRANGER, x5u="http://127.0.0.1:1/x"),
    "something critical": lambda: signed(user_claims(), crit=["exp"], exp=1),
    "something critical that is missing": lambda: signed(user_claims(), crit=["\ud800"]),
    "nothing that is critical": lambda: signed(user_claims(), crit=5),
    "an unknown header": lambda: signed(user_claims(), **{"\ud800": 1}),
    "no type": lambda: signed(user_claims(), typ=None),
    "the common type": lambda: signed(user_claims(), typ="JWT"),
    "a type that is a list": lambda: signed(user_claims(), typ=["at+jwt"]),
    "a type that is an object": lambda: signed(user_claims(), typ={}),
    "a person's token of a service's type": lambda: signed(user_claims(), typ="service+jwt"),
    "a person's token by a service's key": lambda: user_signed_by("user-service"),
    "a person's token by a service's key, of its type": lambda: user_signed_by("user-service", typ="service+jwt"),
    "a service's token of a person's type": lambda: signed(SERVICE, people.SERVICE_KEYS["analytics-service"]),
    "a service's token by the key of people's": lambda: service_signed(SERVICE, people.KEY),
    "a service's token by another's key": lambda: service_signed(SERVICE, people.SERVICE_KEYS["product-service"]),
    "a service's token by another's key, in its name": lambda: service_signed(
        SERVICE, people.SERVICE_KEYS["product-service"], kid=people.SERVICE_KEYS["analytics-service"].kid
    ),
    "a service's token for another callee": lambda: service_token("analytics-service", "user-service"),
    "a service's token for everybody": lambda: service_token("analytics-service", "platform"),
    "a service's token about another": lambda: service_token("analytics-service", "order-service", sub="user-service"),
    "a service's token of another issuer": lambda: service_token("analytics-service", "order-service", iss="x"),
    "a service's token that is over": lambda: service_token("analytics-service", "order-service", exp=in_seconds(-125)),
    "a header that is a list": lambda: sealed('["alg"]', "{}"),
    "a header that is a text": lambda: sealed('"alg"', "{}"),
    "a header that is a number": lambda: sealed("5", "{}"),
    "a header without end": lambda: sealed("[" * 300, "{}"),
    "a header that is no UTF-8": lambda: sealed(b'{"alg": "\xff"}', "{}"),
    "claims that are a list": lambda: signed([user_claims()]),
    "claims that are a text": lambda: signed("x"),
    "claims without end": lambda: sealed(
        json.dumps({"alg": "Ed25519", "kid": people.KEY.kid, "typ": "at+jwt"}), "[" * 90_000
    ),
    "claims that are no UTF-8": lambda: sealed(
        json.dumps({"alg": "Ed25519", "kid": people.KEY.kid, "typ": "at+jwt"}), b"\xff\xfe"
    ),
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_a_token_that_is_not_ours_is_refused(api, token):
    answer = api.get(ORDERS, bearer(token()))
    assert_problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="platform", error="invalid_token"'


BAD_CLAIMS = {
    "of another issuer": {"iss": "order-service"},
    "of an issuer like ours": {"iss": "user-service "},
    "of no issuer": {"iss": None},
    "of two issuers": {"iss": ["user-service", "order-service"]},
    "for another audience": {"aud": "order-service"},
    "for nobody": {"aud": None},
    "for an empty list": {"aud": []},
    "for an object": {"aud": {"platform": 1}},
    "over": {"exp": in_seconds(-6)},
    "never over": {"exp": None},
    "over at some word": {"exp": "tomorrow"},
    "over at infinity": {"exp": float("inf")},
    "over at no number": {"exp": float("nan")},
    "over at true": {"exp": True},
    "good tomorrow": {"nbf": in_seconds(86_400)},
    "made tomorrow": {"iat": in_seconds(86_400)},
    "made at no time": {"iat": None},
    "good from no time on": {"nbf": None},
    "of nobody": {"sub": None},
    "of an empty name": {"sub": ""},
    "of a number": {"sub": 1},
    "of true": {"sub": True},
    "of a list": {"sub": ["1"]},
    "of a name": {"sub": "admin"},
    "of a service": {"sub": "order-service"},
    "of a negative id": {"sub": "-1"},
    "of an id with spaces": {"sub": " 1"},
    "of an id of other digits": {"sub": "١"},
    "of an id of superscripts": {"sub": "²"},
    "of an id too great": {"sub": str(2**63)},
    "of an id far too great": {"sub": "9" * 5000},
    "of an id and a comment": {"sub": "1' OR '1'='1"},
}


@pytest.mark.parametrize("wrong", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_false_claims_are_refused(api, wrong):
    answer = api.get(ORDERS, bearer(user_token(**wrong)))
    assert_problem(answer, 401, "not_authenticated")
    assert 'error="invalid_token"' in answer["WWW-Authenticate"]


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "exp", "iat", "nbf"])
def test_missing_claims_are_refused(api, claim):
    claims = user_claims()
    del claims[claim]
    assert_problem(api.get(ORDERS, bearer(signed(claims))), 401, "not_authenticated")


def test_a_proper_token_is_taken(api):
    assert api.get(ORDERS, as_user(1)).status_code == 200
    caller = identify(user_token(7, "orders"))
    assert (caller.kind, caller.user_id, caller.roles) == (Kind.USER, 7, {Role.ORDERS})


def test_small_clock_differences_are_accepted():
    assert identify(user_token(exp=in_seconds(-3)))
    assert identify(user_token(nbf=in_seconds(110), iat=in_seconds(110)))


@pytest.mark.parametrize("skew", [-115, 115])
def test_the_clock_of_another_service_may_be_two_minutes_off(skew):
    times = {"iat": in_seconds(skew), "nbf": in_seconds(skew), "exp": in_seconds(skew + 1)}
    assert identify(service_token("analytics-service", "order-service", **times)).subject == "analytics-service"


@pytest.mark.parametrize("skew", [-125, 125])
def test_the_clock_of_another_service_may_not_be_further_off(skew):
    times = {"iat": in_seconds(skew), "nbf": in_seconds(skew), "exp": in_seconds(skew + 1)}
    with pytest.raises(BadToken):
        identify(service_token("analytics-service", "order-service", **times))


@pytest.mark.parametrize(
    "roles",
    [None, "admin", {"admin": 1}, ["Admin", "root", "", None, 5, ["admin"], {"admin": 1}], 5, True, [[]], "adminadmin"],
    ids=str,
)
def test_roles_that_are_none_give_nothing(api, roles):
    token = user_token(1, roles=roles)
    assert identify(token).roles == frozenset()
    assert_problem(api.post(f"{ORDERS}/1/ship", headers=bearer(token)), 403, "permission_denied")


def test_a_service_is_identified_by_its_key():
    caller = identify(service_token("analytics-service", "order-service", on_behalf_of="7", roles=["admin"]))
    assert (caller.kind, caller.subject, caller.on_behalf_of) == (Kind.SERVICE, "analytics-service", "7")
    assert caller.roles == frozenset()
    assert caller.user_id is None


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer", "Bearer ", "Bearer  ", "bearer", "Bearer a b", "Bearer .", "Bearer ..", "Bearer ...."),
        *("Basic YTpi", "Digest x", "Token x", "x", "Bearer\u00a0x", "Bearer é", "Bearer \x7f", "Bearer a, Bearer b"),
        *("Bearer " + "a" * 8000, "Bearer " + "a." * 4000, "Bearer " + "." * 8000),
    ],
    ids=lambda header: header[:20],
)
def test_another_header_is_refused(api, header):
    answer = api.get(ORDERS, {"Authorization": header})
    assert_problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"].startswith('Bearer realm="platform"')


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_an_oversized_token_is_refused(api, size):
    long = user_token(jti="x" * size)
    if size > 128_000:
        assert_problem(api.get(ORDERS, bearer(long)), 401, "not_authenticated")
    assert_problem(api.get(ORDERS, bearer("a" * size)), 401, "not_authenticated")


def test_a_401_has_a_www_authenticate_header(api):
    answer = api.get(ORDERS)
    assert_problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="platform"'


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_authentication_scheme_is_case_insensitive(api, scheme):
    assert api.get(ORDERS, {"Authorization": f"{scheme} {user_token()}"}).status_code == 200


def test_public_routes_need_no_token_but_refuse_a_bad_one(api):
    assert api.get("/api/").status_code == 200
    assert_problem(api.get("/api/", bearer("x")), 401, "not_authenticated")


def test_a_bad_token_is_refused_in_development_too(api, settings):
    settings.PLATFORM_ENV = "development"
    assert api.get(ORDERS).status_code == 200
    assert_problem(api.get(ORDERS, bearer(user_token(exp=in_seconds(-9)))), 401, "not_authenticated")


def test_no_part_of_the_token_is_in_the_response(api):
    for token in (
        signed(user_claims(), crit=["<b>secret-word"]),
        signed(user_claims(), **{"secret-word": 1}),
        signed(user_claims(), alg="secret-word"),
        signed(user_claims(), kid="secret-word"),
        user_token(iss="secret-word"),
    ):
        answer = api.get(ORDERS, bearer(token))
        assert answer.status_code == 401
        assert "secret-word" not in answer.content.decode() + str(answer.headers)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "cty", "zip"]), anything, max_size=4
)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "roles", "sid", "jti", "on_behalf_of"]), anything
)


def assert_refused_or_read(token: str) -> None:
    try:
        identify(token)
    except BadToken as refused:
        json.dumps(str(refused)).encode()


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_garbage_is_refused_with_a_message(text):
    with pytest.raises(BadToken):
        identify(text)


@given(anything | HEADERS, anything | CLAIMS)
def test_any_malformed_token_is_refused_with_a_message(header, claims):
    assert_refused_or_read(sealed(json.dumps(header), json.dumps(claims)))


@given(CLAIMS, st.sampled_from(["at+jwt", "service+jwt"]))
def test_a_signature_does_not_make_nonsense_true(claims, kind):
    key = people.KEY if kind == "at+jwt" else people.SERVICE_KEYS["user-service"]
    with pytest.raises(BadToken):
        identify(signed({**claims, "exp": 5}, key, typ=kind))


@given(CLAIMS, st.sampled_from(["at+jwt", "service+jwt"]))
def test_unknown_claims_in_a_valid_token_are_ignored(claims, kind):
    if kind == "at+jwt":
        token = signed({**claims, **user_claims(1)} | {k: claims[k] for k in ("roles", "sid") if k in claims})
    else:
        proper = service_claims("user-service", "order-service")
        token = signed({**claims, **proper}, people.SERVICE_KEYS["user-service"], typ=kind)
    assert_refused_or_read(token)


# The key set of user-service, over the wire.


class Accounts:
    """A fake of user-service's key set."""

    def __init__(self) -> None:
        self.keys = [PUBLIC]
        self.fetched = 0
        self.down = False
        self.takes = 0.0
        self.deadlines: list[float | None] = []

    def answer(self, request):
        self.fetched += 1
        self.deadlines.append(context.current().deadline)
        time.sleep(self.takes)
        if self.down:
            raise requests.exceptions.ConnectionError("refused")
        body = self.keys if isinstance(self.keys, str) else json.dumps({"keys": self.keys})
        return 200, {}, body


@pytest.fixture
def accounts(settings, peers):
    settings.ACCOUNTS = "platform_core.clients.users"
    there = Accounts()
    peers.add_callback(responses.GET, settings.PEER_URLS["user-service"] + KEYS_URL, callback=there.answer)
    return there


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The clock of the key sets."""
    watch = Clock()
    monkeypatch.setitem(KeySet.__init__.__kwdefaults__, "clock", watch)
    tokens.forget()
    return watch


def test_the_keys_are_fetched_once_for_many_requests(api, accounts):
    for _ in range(5):
        assert api.get(ORDERS, as_user()).status_code == 200
    assert accounts.fetched == 1


@pytest.mark.django_db(transaction=True)
def test_the_first_keys_are_fetched_once_for_many_at_once(api, accounts):
    accounts.takes = 0.3
    answers = at_once([lambda: api.get(ORDERS, as_user())] * 8)
    assert [answer.status_code for answer in answers] == [200] * 8
    assert accounts.fetched == 1


def test_a_new_key_is_known_at_its_first_token(api, accounts, clock):
    assert api.get(ORDERS, as_user()).status_code == 200
    new = OKPKey.generate_key("Ed25519", {"kid": "access.new"})
    accounts.keys.append(new.as_dict(private=False))
    clock.now += 6
    assert api.get(ORDERS, bearer(signed(user_claims(), new))).status_code == 200
    assert accounts.fetched == 2


@pytest.mark.django_db(transaction=True)
def test_many_unknown_key_ids_cause_one_fetch_per_pause(api, accounts, clock):
    assert api.get(ORDERS, as_user()).status_code == 200
    for pause in (1, 2):
        clock.now += 5.1
        flood = [signed(user_claims(), kid=f"access.{pause}.{n}") for n in range(24)]
        at_once([lambda part=flood[n::8]: [api.get(ORDERS, bearer(token)) for token in part] for n in range(8)])
        assert accounts.fetched == 1 + pause


def test_a_withdrawn_key_is_refused_after_five_minutes(api, accounts, clock):
    assert api.get(ORDERS, as_user()).status_code == 200
    accounts.keys.clear()
    clock.now += 299
    assert api.get(ORDERS, as_user()).status_code == 200
    clock.now += 2
    assert_problem(api.get(ORDERS, as_user()), 401, "not_authenticated")


def test_known_keys_stay_good_while_user_service_is_down(api, accounts, clock):
    assert api.get(ORDERS, as_user()).status_code == 200
    accounts.down = True
    for _ in range(3):
        clock.now += 400
        assert api.get(ORDERS, as_user()).status_code == 200
    assert_problem(api.get(ORDERS, bearer(signed(user_claims(), kid="access.new"))), 401, "not_authenticated")


def test_missing_keys_give_503_and_not_401(api, accounts):
    accounts.down = True
    answer = api.get(ORDERS, as_user())
    assert_problem(answer, 503, "unavailable")
    assert int(answer["Retry-After"]) >= 1
    assert "user-service" in answer.json()["detail"]


def test_sign_in_works_as_soon_as_user_service_is_back(api, accounts):
    accounts.down = True
    assert_problem(api.get(ORDERS, as_user()), 503, "unavailable")
    accounts.down = False
    assert api.get(ORDERS, as_user()).status_code == 200


GARBAGE = {
    "no JSON": "<html>",
    "a list": "[]",
    "no keys": "{}",
    "keys that are none": '{"keys": "x"}',
    "null": "null",
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_an_invalid_key_set_does_not_make_a_token_invalid(api, accounts, body):
    accounts.keys = body
    assert_problem(api.get(ORDERS, as_user()), 503, "unavailable")


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_an_invalid_key_set_keeps_the_known_keys(api, accounts, clock, body):
    assert api.get(ORDERS, as_user()).status_code == 200
    accounts.keys = body
    clock.now += 400
    assert api.get(ORDERS, as_user()).status_code == 200
    assert accounts.fetched == 2


def test_keys_of_other_kinds_and_broken_ones_do_no_harm(api, accounts):
    broken = [{**PUBLIC, "kid": "b", "x": "AA"}, {**PUBLIC, "kid": 5}, {**PUBLIC, "kid": "c", "x": 5}]
    other = [{"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"}, {"kty": "oct", "k": "c2VjcmV0", "kid": "o"}]
    accounts.keys = [*broken, *other, 5, None, [], {}, PUBLIC]
    assert api.get(ORDERS, as_user()).status_code == 200
    assert_problem(api.get(ORDERS, bearer(hmac_token(b"secret"))), 401, "not_authenticated")
    assert_problem(api.get(ORDERS, bearer(signed(user_claims(), kid="b"))), 401, "not_authenticated")


def test_a_short_deadline_does_not_cancel_the_shared_fetch(api, accounts):
    """X-Request-Timeout does not limit the fetch. Otherwise a caller could prevent the fetch of new keys."""
    for _ in range(2):
        api.get(ORDERS, bearer(user_token(), **{"X-Request-Timeout": "0.001"}))
    assert accounts.fetched == 1
    assert accounts.deadlines[0] - time.monotonic() > 0.5


def test_the_keys_live_as_long_as_the_docs_say():
    fresh = keysets.KeySet(dict)
    assert timedelta(seconds=fresh._lifetime) == timedelta(minutes=5)


@pytest.fixture
def today(monkeypatch):
    """Sets what `time.time` says."""
    tokens.forget()
    beginning = time.time()
    yield lambda seconds: monkeypatch.setattr(time, "time", lambda: beginning + seconds)
    tokens.forget()


def counted(monkeypatch, name: str) -> list[object]:
    """The calls of a function of `jwt`."""
    calls: list[object] = []
    function = getattr(tokens.jwt, name)
    monkeypatch.setattr(tokens.jwt, name, lambda *args, **kwargs: (calls.append(args), function(*args, **kwargs))[1])
    return calls


def test_a_token_is_verified_once_until_it_expires(monkeypatch, today):
    decoded, token = counted(monkeypatch, "decode"), user_token(7, "orders", exp=in_seconds(60))
    today(0)
    assert identify(token) == identify(token)
    today(63)
    assert identify(token).roles == {Role.ORDERS}
    assert len(decoded) == 1
    today(67)
    with pytest.raises(BadToken):
        identify(token)


def test_a_token_is_verified_again_when_the_clock_was_set_back(today):
    token = user_token(7)
    today(0)
    identify(token)
    today(-3600)
    with pytest.raises(BadToken):
        identify(token)


def test_a_token_ends_with_its_key(monkeypatch):
    key = OKPKey.generate_key("Ed25519", {"kid": "user-service.gone"})
    keys = KeySet(lambda: {key.kid: key})
    monkeypatch.setattr(tokens, "user_keys", lambda: keys)
    token = signed(user_claims(7), key)
    assert identify(token).subject == "7"
    monkeypatch.setattr(keys, "_keys", {people.KEY.kid: people.KEY})
    monkeypatch.setattr(keys, "_load", lambda: {people.KEY.kid: people.KEY})
    with pytest.raises(BadToken):
        identify(token)
    stranger = OKPKey.generate_key("Ed25519", {"kid": key.kid})
    monkeypatch.setattr(keys, "_keys", {key.kid: stranger})
    with pytest.raises(BadToken):
        identify(token)


def test_no_more_tokens_are_remembered_than_have_room(monkeypatch, today):
    monkeypatch.setattr(tokens, "REMEMBERED", 3)
    for number in range(1, 9):
        assert identify(user_token(number)).subject == str(number)
        assert len(tokens._verified) <= 3


def test_service_tokens_are_reused_for_half_their_life_per_callee_and_user(monkeypatch, today):
    signatures = counted(monkeypatch, "encode")
    monkeypatch.setattr(tokens, "own_key", lambda: people.SERVICE_KEYS["order-service"])
    today(0)
    first = tokens.service_token("product-service")
    today(29)
    assert tokens.service_token("product-service") == first
    assert len(signatures) == 1
    today(31)
    assert tokens.service_token("product-service") != first
    assert tokens.service_token("user-service") != tokens.service_token("product-service")
    assert len(signatures) == 3
    with context.entered(context.Context(user="7")):
        of_a_user = tokens.service_token("product-service")
    assert of_a_user != tokens.service_token("product-service")
    assert len(signatures) == 4
    today(-3600)
    tokens.service_token("product-service")
    assert len(signatures) == 5


def test_a_new_key_signs_at_once(monkeypatch, today):
    monkeypatch.setattr(tokens, "own_key", lambda: people.SERVICE_KEYS["order-service"])
    first = tokens.service_token("product-service")
    monkeypatch.setattr(tokens, "own_key", lambda: people.SERVICE_KEYS["user-service"])
    assert tokens.service_token("product-service") != first


@pytest.mark.parametrize(("seconds", "is_accepted"), [(60, True), (120, True), (121, False), (86_400, False)])
def test_a_service_token_that_is_valid_for_long_is_refused(production, seconds, is_accepted):
    now = int(time.time())
    token = people.service_token("analytics-service", "order-service", iat=now, exp=now + seconds)
    if is_accepted:
        assert identify(token).kind is Kind.SERVICE
    else:
        with pytest.raises(BadToken, match="valid for too long"):
            identify(token)
