"""GET /api/users."""

from itertools import chain
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wire import assert_problem
from user_svc.models import User

pytestmark = pytest.mark.django_db
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def people() -> list[str]:
    """The ids of seven users, newest first; three were made in the same instant."""
    users = [User.objects.create(name=f"User {n}", email=f"user{n}@example.com") for n in range(7)]
    User.objects.filter(pk__in=[user.pk for user in users[2:5]]).update(created_at=users[2].created_at)
    return [str(user.pk) for user in reversed(users)]


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [user["id"] for user in answer.json()["results"]]


def walk(api, url: str, way: str = "next") -> list[list[str]]:
    """The ids of all pages from ``url`` on."""
    pages = []
    while url:
        assert len(pages) < 100, "the pages do not end"
        answer = api.get(url)
        pages.append(ids(answer))
        url = answer.json()[way]
    return pages


def test_nobody_is_an_empty_list(api):
    assert api.get("/api/users").json() == {"results": [], "next": None, "previous": None}


def test_users_come_newest_first_in_the_shape_of_one(api, people):
    answer = api.get("/api/users")
    assert ids(answer) == people
    assert answer.json()["results"][0] == api.get(f"/api/users/{people[0]}").json()
    assert answer.json()["next"] is answer.json()["previous"] is None
    assert set(answer.json()) == {"results", "next", "previous"}


def test_fifty_come_by_default(api):
    User.objects.bulk_create(User(name="x", email=f"x{n}@example.com") for n in range(51))
    answer = api.get("/api/users")
    assert len(ids(answer)) == 50
    assert len(ids(api.get(answer.json()["next"]))) == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 200])
def test_pages_put_together_are_the_list_forwards_and_backwards(api, people, limit):
    forwards = walk(api, f"/api/users?limit={limit}")
    assert list(chain.from_iterable(forwards)) == people
    assert all(len(page) == limit for page in forwards[:-1])
    last = f"/api/users?limit={limit}"
    for _ in forwards[1:]:
        last = api.get(last).json()["next"]
    backwards = walk(api, last, "previous")
    assert list(chain.from_iterable(reversed(backwards))) == people
    assert all(backwards)


def test_next_and_previous_are_whole_urls_that_keep_the_filter(api, people):
    answer = api.get("/api/users/?limit=2&search=User")
    following = answer.json()["next"]
    assert following.startswith("http://testserver/api/users/?")
    assert "search=User" in following and "limit=2" in following
    second = api.get(following)
    assert ids(second) == people[2:4]
    assert ids(api.get(second.json()["previous"])) == people[:2]


def test_who_comes_or_goes_while_pages_are_turned_shifts_nothing(api, people):
    first = api.get("/api/users?limit=2")
    User.objects.create(name="New", email="new@example.com")
    User.objects.filter(pk__in=[people[1], people[3]]).delete()
    second = api.get(first.json()["next"])
    assert ids(second) == [people[2], people[4]]
    assert people[0] in ids(api.get(second.json()["previous"]))


def test_a_page_behind_the_deleted_rest_is_empty_but_no_error(api, people):
    following = api.get("/api/users?limit=5").json()["next"]
    User.objects.filter(pk__in=people[5:]).delete()
    assert ids(api.get(following)) == []


@pytest.mark.parametrize("limit", [1, 200, "007"])
def test_a_limit_from_1_to_200_is_taken(api, people, limit):
    assert len(ids(api.get(f"/api/users?limit={limit}"))) == min(int(limit), 7)


@pytest.mark.parametrize(
    "limit",
    [
        "0",
        "201",
        "-1",
        "1.5",
        "abc",
        "",
        "1e1",
        "0x10",
        "1_0",
        "%D9%A1%D9%A0",
        "%00",
        "9" * 30,
        "9" * 5000,
        "null",
        "1;2",
    ],
)
def test_any_other_limit_is_refused(api, limit):
    assert_problem(api.get(f"/api/users?limit={limit}"), 400, "invalid", ["limit"])


@pytest.mark.parametrize(
    "cursor", ["x", "garbage", "!!!!", "%00", "%FF%FE", "%C3%A9", "AAAA" * 10, "a" * 3000, "", "=", "null", "1", "0"]
)
def test_a_cursor_that_is_garbage_is_refused(api, cursor):
    assert_problem(api.get(f"/api/users?cursor={cursor}"), 400, "invalid", ["cursor"])


@given(data=st.data())
def test_a_cursor_of_which_one_character_was_changed_is_refused(api, data):
    while User.objects.count() < 3:
        User.objects.create(name="x", email=f"{User.objects.count()}@example.com")
    following = api.get("/api/users?limit=1").json()["next"]
    cursor = urlsplit(following).query.split("cursor=")[1]
    place = data.draw(st.integers(0, len(cursor)))
    way = data.draw(st.sampled_from(["other", "more", "less"]))
    letter = data.draw(st.sampled_from(BASE64 + "!=+/ \n\x00é"))
    changed = cursor[:place] + (letter if way != "less" else "") + cursor[place + (way != "more") :]
    if changed != cursor:
        assert_problem(api.get(f"/api/users?cursor={quote(changed)}"), 400, "invalid", ["cursor"])


def test_a_cursor_with_surplus_characters_or_bits_is_refused(api, people):
    cursor = urlsplit(api.get("/api/users?limit=2").json()["next"]).query.split("cursor=")[1]
    changed = [cursor[:-1] + letter for letter in BASE64 if letter != cursor[-1]]
    changed += [cursor + "=" * n for n in (1, 2, 4)] + [cursor + "!!!!", "!!!!" + cursor, cursor * 2]
    for text in changed:
        assert_problem(api.get(f"/api/users?cursor={text}"), 400, "invalid", ["cursor"])


def test_the_cursor_of_another_limit_goes_on_from_the_same_place(api, people):
    cursor = urlsplit(api.get("/api/users?limit=2").json()["next"]).query.split("cursor=")[1]
    assert ids(api.get(f"/api/users?limit=3&cursor={cursor}")) == people[2:5]


@pytest.mark.parametrize("name", ["emial", "page", "format", "Limit", "sort", "%00", "is_active", "password", "id"])
def test_an_unknown_query_parameter_is_refused_by_name(api, name):
    (error,) = assert_problem(api.get(f"/api/users?{name}=1"), 400, "invalid")
    assert error["field"] == (name if name != "%00" else "\x00")


def test_a_flood_of_query_parameters_is_refused(api):
    query = "&".join(f"p{n}=1" for n in range(2000))
    assert_problem(api.get(f"/api/users?{query}"), 400, "invalid")


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


@given(search=st.text(min_size=1, max_size=60))
def test_no_search_is_an_error_of_ours(api, search):
    answer = api.client.get("/api/users", {"search": search})
    assert answer.status_code in (200, 400)


@given(name=st.text(st.characters(categories=["Lu", "Ll", "Nd"], max_codepoint=0x52F), min_size=1, max_size=30))
@example(name="李雷")
@example(name="मीरा")
@example(name="عمر ١٢")
def test_whatever_the_name_its_letters_find_it(api, name):
    User.objects.all().delete()
    if api.post("/api/users", {"name": name, "email": "x@example.com"}).status_code == 201:
        assert len(ids(api.client.get("/api/users", {"search": name}))) == 1


@pytest.mark.parametrize("field", ["email", "search", "cursor"])
@pytest.mark.parametrize("value", ["%00", "a%00b"])
def test_nul_in_a_query_is_refused(api, field, value):
    assert_problem(api.get(f"/api/users?{field}={value}"), 400, "invalid", [field])


@pytest.mark.parametrize("value", ["%ED%A0%80", "%FF", "%C3%28", "%F0%9F%A6%8A", "%0A", "%7F", "%E2%80%AE", "%"])
@pytest.mark.parametrize("field", ["email", "search"])
def test_bytes_that_are_no_text_find_nobody(api, field, value):
    assert ids(api.get(f"/api/users?{field}=a{value}z")) == []


def test_filters_narrow_each_other(api, people):
    assert ids(api.get("/api/users?search=User&email=user3@example.com")) == [people[3]]
    assert ids(api.get("/api/users?search=Nobody&email=user3@example.com")) == []
