"""POST /api/users."""

import json

import pytest
from django.contrib.auth.hashers import check_password
from hypothesis import example, given
from hypothesis import strategies as st

from platform_core.events.models import Event
from tests.wire import assert_problem, at_once
from user_svc.models import User

pytestmark = pytest.mark.django_db

USER = {
    "id",
    "name",
    "email",
    "phone",
    "address",
    "isActive",
    "createdAt",
    "updatedAt",
    "emailVerified",
    "pendingEmail",
}
ANN = {"name": "Ann", "email": "ann@example.com"}
FORM = "application/x-www-form-urlencoded"


def test_it_answers_201_with_the_user_and_where_it_is(api):
    response = api.post("/api/users", {"name": " Ann ", "email": "ann@example.com"})
    assert response.status_code == 201
    assert response.json()["name"] == "Ann"
    assert response["Location"] == f"/api/users/{response.json()['id']}"
    assert response["ETag"] == '"1"'
    assert api.get(response["Location"]).json() == response.json()


def test_the_answer_has_what_the_contract_says_and_no_more(api):
    user = api.post("/api/users", {**ANN, "password": "correct horse battery"}).json()
    assert set(user) == USER
    assert isinstance(user["id"], str) and user["id"].isdigit()
    assert user["isActive"] is True
    assert user["phone"] == "" and user["address"] == ""
    assert user["createdAt"].endswith("Z") and user["updatedAt"].endswith("Z")


@pytest.mark.parametrize("name", ["a", "a" * 200, "  " + "a" * 200 + "\t\n", "Zoë 李 🦊", "O'Neil; --", "<b>", "%s"])
def test_a_name_of_1_to_200_characters_is_kept_trimmed(api, name):
    user = api.post("/api/users", {**ANN, "name": name})
    assert user.status_code == 201
    assert user.json()["name"] == name.strip()


@pytest.mark.parametrize(
    "name, code",
    [
        ("", "blank"),
        ("   ", "blank"),
        ("\t\n", "blank"),
        ("\u00a0\u2003", "blank"),
        ("a" * 201, "max_length"),
        (None, "null"),
        *((value, "invalid") for value in (5, 1.5, True, False, [], ["Ann"], {}, {"a": 1})),
        ("a\x00b", None),
        ("a\nb", None),
        ("a\x7fb", None),
    ],
)
def test_any_other_name_is_refused(api, name, code):
    (error,) = assert_problem(api.post("/api/users", {**ANN, "name": name}), 400, "invalid", ["name"])
    assert code is None or error["code"] == code
    assert not User.objects.exists()


@pytest.mark.parametrize("missing", ["name", "email"])
def test_name_and_email_are_required(api, missing):
    body = {key: value for key, value in ANN.items() if key != missing}
    (error,) = assert_problem(api.post("/api/users", body), 400, "invalid", [missing])
    assert error["code"] == "required"


def test_all_validation_errors_are_reported_at_once(api):
    response = api.post("/api/users", {"name": "", "email": "nobody", "phone": 5, "password": "x"})
    assert_problem(response, 400, "invalid", ["name", "email", "phone", "password"])


@given(name=st.text(max_size=210))
@example(name="\x1f")
@example(name="\x85a")
@example(name="\ufeff")
def test_any_name_is_stored_trimmed_or_refused(api, name):
    User.objects.all().delete()
    response = api.post("/api/users", {**ANN, "name": name})
    kept = name.strip()
    if 1 <= len(kept) <= 200 and not any(ord(c) < 32 or ord(c) == 127 for c in kept):
        assert response.status_code == 201
        assert api.get(response["Location"]).json()["name"] == kept
    else:
        assert_problem(response, 400, "invalid", ["name"])


@pytest.mark.parametrize("email", ["ann@example.com", "Ann.O'Neil+shop@Sub.Example.co.uk", " ann@example.com "])
def test_a_valid_email_is_kept_as_it_was_written(api, email):
    response = api.post("/api/users", {**ANN, "email": email})
    assert response.status_code == 201
    assert response.json()["email"] == email.strip()


@pytest.mark.parametrize(
    "email",
    [
        *("", " ", "ann", "ann@", "@example.com", "ann@example", "a nn@example.com", "ann@@example.com"),
        *("ann@example..com", "ann@exa\nmple.com", "ann\x00@example.com", "Ann <ann@example.com>", "ann@-x.com"),
        "a" * 64 + "@" + ".".join(["b" * 60] * 4) + ".com",
        *(None, 5, True, [], {}, ["ann@example.com"]),
    ],
)
def test_an_invalid_email_is_refused(api, email):
    assert_problem(api.post("/api/users", {**ANN, "email": email}), 400, "invalid", ["email"])


@given(email=st.emails() | st.text(max_size=40).map(lambda text: f"{text}@example.com"))
def test_any_email_can_be_found_again_or_is_refused(api, email):
    User.objects.all().delete()
    response = api.post("/api/users", {**ANN, "email": email})
    if response.status_code == 201:
        found = api.client.get("/api/users", {"email": email.strip().swapcase()}).json()["results"]
        assert [user["email"] for user in found] == [email.strip()]
    else:
        assert_problem(response, 400, "invalid", ["email"])


@pytest.mark.parametrize("email", ["ann@example.com", "ANN@EXAMPLE.COM", " Ann@Example.com"])
def test_an_email_that_is_taken_is_refused_whatever_its_case(api, ann, email):
    assert_problem(api.post("/api/users", {"name": "Other", "email": email}), 409, "email_taken")
    assert User.objects.count() == 1


def test_an_umlaut_in_a_domain_is_the_same_in_capitals(api):
    assert api.post("/api/users", {**ANN, "email": "ann@bücher.example"}).status_code == 201
    assert_problem(api.post("/api/users", {**ANN, "email": "ann@BÜCHER.example"}), 409, "email_taken")
    assert len(api.get("/api/users?email=ANN@BÜCHER.example").json()["results"]) == 1


@pytest.mark.usefixtures("production_hashes")
@pytest.mark.parametrize("password", ["correct horse battery", " leading and trailing ", "пароль-пароль", "x" * 128])
def test_a_password_is_stored_as_argon2_and_never_returned(api, password):
    response = api.post("/api/users", {**ANN, "password": password})
    stored = User.objects.get().password
    assert stored.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert check_password(password, stored)
    for answer in (response, api.get(response["Location"]), api.get("/api/users")):
        assert "password" not in answer.content.decode()
        assert "argon2" not in answer.content.decode()
    (event,) = Event.objects.all()
    assert "argon2" not in json.dumps(event.data)


@pytest.mark.parametrize("body", [{}, {"password": None}])
def test_an_account_without_a_password_cannot_sign_in(api, body):
    assert api.post("/api/users", {**ANN, **body}).status_code == 201
    assert not check_password("", User.objects.get().password)


@pytest.mark.parametrize(
    "password",
    ["short", "password", "12345678901", "", "x" * 129, 5, True, [], {}, "pass\x00word1234", "correct\nhorse battery"],
)
def test_a_weak_or_malformed_password_is_refused_and_not_repeated(api, password):
    response = api.post("/api/users", {**ANN, "password": password})
    assert_problem(response, 400, "invalid", ["password"])
    if isinstance(password, str) and len(password) > 8 and password != "password":
        assert password not in response.content.decode()
    assert not User.objects.exists()


@pytest.mark.parametrize("field, longest", [("phone", 50), ("address", 500)])
def test_phone_and_address_may_be_left_out_null_or_empty(api, field, longest):
    for number, extra in enumerate(({}, {field: None}, {field: ""}, {field: "  "})):
        response = api.post("/api/users", {"name": "Ann", "email": f"ann{number}@example.com", **extra})
        assert response.status_code == 201
        assert response.json()[field] == ""
    full = api.post("/api/users", {**ANN, field: "x" * longest})
    assert full.json()[field] == "x" * longest


@pytest.mark.parametrize("field, longest", [("phone", 50), ("address", 500)])
@pytest.mark.parametrize("kind", ["too long", 5, True, [], {}, "a\x00b"])
def test_another_phone_or_address_is_refused(api, field, longest, kind):
    value = "x" * (longest + 1) if kind == "too long" else kind
    assert_problem(api.post("/api/users", {**ANN, field: value}), 400, "invalid", [field])


def test_an_address_may_have_several_lines(api):
    response = api.post("/api/users", {**ANN, "address": "1 Elm Street\nSpringfield"})
    assert response.json()["address"] == "1 Elm Street\nSpringfield"


def test_read_only_fields_cannot_be_sent(api):
    forbidden = {
        "id": "77",
        "pk": 77,
        "isActive": False,
        "is_active": False,
        "version": 9,
        "createdAt": "2001-01-01T00:00:00Z",
        "created_at": "2001-01-01T00:00:00Z",
        "updatedAt": "x",
        "isStaff": True,
        "is_staff": True,
        "is_superuser": True,
        "words": "x",
        "nonsense": {},
    }
    errors = assert_problem(api.post("/api/users", {**ANN, **forbidden}), 400, "invalid", forbidden)
    assert {error["code"] for error in errors} == {"unknown_field"}
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_of_two_concurrent_users_gets_an_email(api):
    bodies = [{"name": f"Ann {n}", "email": email} for n, email in enumerate(["a@x.org", "A@X.org"] * 4)]
    answers = at_once(lambda body=body: api.post("/api/users", body) for body in bodies)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert User.objects.count() == Event.objects.count() == 1


@pytest.mark.parametrize(
    "body, content_type, status", [("[]", "application/json", 400), ("{", "application/json", 400), ("a=b", FORM, 415)]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_body_that_is_no_json_object_is_refused(send, ann, method, body, content_type, status):
    path = "/api/users" if method == "POST" else f"/api/users/{ann['id']}"
    assert send(method, path, body, content_type).status_code == status
    assert User.objects.count() == Event.objects.count() == 1


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=8,
)


@given(
    body=anything
    | st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "email", "password", "phone", "address"), anything)),
    key=st.none() | st.just("key"),
)
def test_any_body_gives_a_user_or_a_validation_error(send, body, key):
    answer = send("POST", "/api/users", json.dumps(body), **({"Idempotency-Key": key} if key else {}))
    if answer.status_code != 201:
        assert_problem(answer, answer.status_code, {400: "invalid", 422: "idempotency_key_reused"}[answer.status_code])


def test_work_that_exceeds_the_deadline_is_rolled_back(api):
    answer = api.post("/api/users", ANN, headers={"X-Request-Timeout": "0.0000001"})
    assert_problem(answer, 503, "deadline_exceeded")
    assert not User.objects.exists()
