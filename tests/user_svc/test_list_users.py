"""GET /api/users."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire import assert_problem, ids
from user_svc.models import User

pytestmark = pytest.mark.django_db
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def people() -> list[str]:
    """The ids of seven users, newest first; three were made in the same instant."""
    users = [User.objects.create(name=f"User {n}", email=f"user{n}@example.com") for n in range(7)]
    User.objects.filter(pk__in=[user.pk for user in users[2:5]]).update(created_at=users[2].created_at)
    return [str(user.pk) for user in reversed(users)]


def test_an_empty_table_gives_an_empty_list(api):
    assert api.get("/api/users").json() == {"results": [], "next": None, "previous": None}


def test_users_come_newest_first_in_the_shape_of_one(api, people):
    answer = api.get("/api/users")
    assert ids(answer) == people
    assert answer.json()["results"][0] == api.get(f"/api/users/{people[0]}").json()
    assert answer.json()["next"] is answer.json()["previous"] is None
    assert set(answer.json()) == {"results", "next", "previous"}


def test_next_and_previous_are_whole_urls_that_keep_the_filter(api, people):
    answer = api.get("/api/users/?limit=2&search=User")
    following = answer.json()["next"]
    assert following.startswith("http://testserver/api/users/?")
    assert "search=User" in following and "limit=2" in following
    second = api.get(following)
    assert ids(second) == people[2:4]
    assert ids(api.get(second.json()["previous"])) == people[:2]


@pytest.mark.parametrize("query", ["limit=0", "cursor=x", "emial=x", "is_active=1", "password=x"])
def test_a_malformed_or_unknown_parameter_is_refused_by_name(api, query):
    assert_problem(api.get(f"/api/users?{query}"), 400, "invalid", [query.split("=")[0]])


@pytest.mark.parametrize("email", ["Ann@Example.com", "ann@example.com", "ANN@EXAMPLE.COM"])
def test_the_email_finds_its_user_whatever_the_case(api, people, email):
    ann = User.objects.create(name="Ann", email="Ann@Example.com")
    assert ids(api.get(f"/api/users?email={email}")) == [str(ann.pk)]


@pytest.mark.parametrize("email", ["user1@example", "user1", "nobody@example.com", "%25", "user_@example.com", "'"])
def test_the_email_is_compared_as_a_whole(api, people, email):
    assert ids(api.get(f"/api/users?email={email}")) == []


@pytest.mark.parametrize(
    "search, found",
    [
        *(("ann", True), ("ANN", True), ("Lee", True), ("lee ann", True), ("ann lee", True), ("An", True)),
        *(("anna", False), ("ann bob", False), ("example", True), ("ann.lee@shop.example", True), ("shop", True)),
        *(("%25", False), ("_", False), ("'", False), ("ann' OR 1=1 --", False), ("&", False), ("!", False)),
        *(
            ("ann:*", True),
            ("\\", False),
            ("<->", False),
            ("(ann", True),
            ("Ännchen", False),
        ),
    ],
)
def test_a_search_finds_the_beginnings_of_words_in_name_and_email(api, search, found):
    User.objects.create(name="Bob", email="bob@other.example.org")
    ann = User.objects.create(name="Ann Lee", email="ann.lee@shop.example")
    expected = [str(ann.pk)] if found else []
    got = ids(api.client.get("/api/users", {"search": search}))
    assert str(ann.pk) in got if found else got == expected


@pytest.mark.parametrize(
    "search, found",
    [
        *(
            (text, "Jürgen Müller")
            for text in ("muller", "MÜLLER", "Mu\u0308ller", "jurgen mul", "ｍüｌｌｅｒ", "müll")
        ),
        *((text, "Søren Łęcki-Weiß") for text in ("soren", "lecki", "leckiweiss", "lecki-weiss", "WEISS", "weiß")),
        *((text, "Sinéad O’Neill") for text in ("sinead", "o'neill", "oneill", "neill", "SINÉAD O")),
        *((text, "山田太郎") for text in ("山田", "太郎", "田太", "郎", "山田太郎")),
        *((text, "Ἑλένη Παππάς") for text in ("ελενη", "ΠΑΠΠΑΣ", "παππας")),
    ],
)
def test_a_search_ignores_accents_and_unicode_form(api, search, found):
    for name in ("Jürgen Müller", "Søren Łęcki-Weiß", "Sinéad O’Neill", "山田太郎", "Ἑλένη Παππάς"):
        User.objects.create(name=name, email=f"u{User.objects.count()}@example.com")
    results = api.client.get("/api/users", {"search": search}).json()["results"]
    assert [user["name"] for user in results] == [found]


@given(search=st.text(min_size=1, max_size=60))
def test_no_search_is_an_error_of_ours(api, search):
    answer = api.client.get("/api/users", {"search": search})
    assert answer.status_code in (200, 400)


@given(name=st.text(st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=0x52F), min_size=1, max_size=30))
@example(name="李雷")
@example(name="मीरा")
@example(name="عمر ١٢")
def test_any_name_is_found_by_its_letters(api, name):
    User.objects.all().delete()
    if api.post("/api/users", {"name": name, "email": "x@example.com"}).status_code == 201:
        assert len(ids(api.client.get("/api/users", {"search": name}))) == 1


@pytest.mark.parametrize("field", ["email", "search"])
@pytest.mark.parametrize("value", ["%00", "a%00b"])
def test_nul_in_a_query_is_refused(api, field, value):
    assert_problem(api.get(f"/api/users?{field}={value}"), 400, "invalid", [field])


@pytest.mark.parametrize("value", ["%ED%A0%80", "%FF", "%C3%28", "%F0%9F%A6%8A", "%0A", "%7F", "%E2%80%AE", "%"])
@pytest.mark.parametrize("field", ["email", "search"])
def test_a_search_for_invalid_bytes_finds_no_user(api, field, value):
    assert ids(api.get(f"/api/users?{field}=a{value}z")) == []


def test_filters_narrow_each_other(api, people):
    assert ids(api.get("/api/users?search=User&email=user3@example.com")) == [people[3]]
    assert ids(api.get("/api/users?search=Nobody&email=user3@example.com")) == []


def test_the_migration_computes_the_words_of_users_that_are_there(api):
    User.objects.create(name="Jürgen Müller", email="j@example.com")
    MigrationExecutor(connection).migrate([("user_svc", "0002_email_key")])
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("user_svc"))
    assert len(ids(api.get("/api/users?search=muller"))) == 1
