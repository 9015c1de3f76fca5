"""Pages of a list. Tested with notes."""

from itertools import chain
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.platform_core.notes.models import Note
from tests.wire import assert_problem, ids, walk

pytestmark = pytest.mark.django_db
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def rows() -> list[str]:
    """The ids of seven notes, newest first; three were made in the same instant."""
    notes = [Note.objects.create(name="Note", label=f"user{n}@example.com") for n in range(7)]
    Note.objects.filter(pk__in=[note.pk for note in notes[2:5]]).update(created_at=notes[2].created_at)
    return [str(note.pk) for note in reversed(notes)]


def test_an_empty_table_is_an_empty_list(api):
    assert api.get("/api/notes").json() == {"results": [], "next": None, "previous": None}


def test_rows_come_newest_first_in_the_shape_of_one(api, rows):
    answer = api.get("/api/notes")
    assert ids(answer) == rows
    assert answer.json()["results"][0] == api.get(f"/api/notes/{rows[0]}").json()
    assert answer.json()["next"] is answer.json()["previous"] is None
    assert set(answer.json()) == {"results", "next", "previous"}


def test_fifty_come_by_default(api):
    Note.objects.bulk_create(Note(name="x", label=f"x{n}@example.com") for n in range(51))
    answer = api.get("/api/notes")
    assert len(ids(answer)) == 50
    assert len(ids(api.get(answer.json()["next"]))) == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 200])
def test_pages_put_together_are_the_list_forwards_and_backwards(api, rows, limit):
    forwards = walk(api, f"/api/notes?limit={limit}")
    assert list(chain.from_iterable(forwards)) == rows
    assert all(len(page) == limit for page in forwards[:-1])
    last = f"/api/notes?limit={limit}"
    for _ in forwards[1:]:
        last = api.get(last).json()["next"]
    backwards = walk(api, last, "previous")
    assert list(chain.from_iterable(reversed(backwards))) == rows
    assert all(backwards)


def test_next_and_previous_are_whole_urls_that_keep_the_filter(api, rows):
    answer = api.get("/api/notes/?limit=2&name=Note")
    following = answer.json()["next"]
    assert following.startswith("http://testserver/api/notes/?")
    assert "name=Note" in following and "limit=2" in following
    second = api.get(following)
    assert ids(second) == rows[2:4]
    assert ids(api.get(second.json()["previous"])) == rows[:2]


def test_rows_added_or_deleted_between_pages_do_not_shift_the_pages(api, rows):
    first = api.get("/api/notes?limit=2")
    Note.objects.create(name="New", label="new@example.com")
    Note.objects.filter(pk__in=[rows[1], rows[3]]).delete()
    second = api.get(first.json()["next"])
    assert ids(second) == [rows[2], rows[4]]
    assert rows[0] in ids(api.get(second.json()["previous"]))


def test_a_page_after_deleted_rows_is_empty(api, rows):
    following = api.get("/api/notes?limit=5").json()["next"]
    Note.objects.filter(pk__in=rows[5:]).delete()
    assert ids(api.get(following)) == []


@pytest.mark.parametrize("limit", [1, 200, "007"])
def test_a_limit_from_1_to_200_is_taken(api, rows, limit):
    assert len(ids(api.get(f"/api/notes?limit={limit}"))) == min(int(limit), 7)


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
    assert_problem(api.get(f"/api/notes?limit={limit}"), 400, "invalid", ["limit"])


@pytest.mark.parametrize(
    "cursor", ["x", "garbage", "!!!!", "%00", "%FF%FE", "%C3%A9", "AAAA" * 10, "a" * 3000, "", "=", "null", "1", "0"]
)
def test_a_cursor_that_is_garbage_is_refused(api, cursor):
    assert_problem(api.get(f"/api/notes?cursor={cursor}"), 400, "invalid", ["cursor"])


@given(data=st.data())
def test_a_cursor_of_which_one_character_was_changed_is_refused(api, data):
    while Note.objects.count() < 3:
        Note.objects.create(name="x", label=f"{Note.objects.count()}@example.com")
    following = api.get("/api/notes?limit=1").json()["next"]
    cursor = urlsplit(following).query.split("cursor=")[1]
    place = data.draw(st.integers(0, len(cursor)))
    way = data.draw(st.sampled_from(["other", "more", "less"]))
    letter = data.draw(st.sampled_from(BASE64 + "!=+/ \n\x00é"))
    changed = cursor[:place] + (letter if way != "less" else "") + cursor[place + (way != "more") :]
    if changed != cursor:
        assert_problem(api.get(f"/api/notes?cursor={quote(changed)}"), 400, "invalid", ["cursor"])


def test_a_cursor_with_surplus_characters_or_bits_is_refused(api, rows):
    cursor = urlsplit(api.get("/api/notes?limit=2").json()["next"]).query.split("cursor=")[1]
    changed = [cursor[:-1] + letter for letter in BASE64 if letter != cursor[-1]]
    changed += [cursor + "=" * n for n in (1, 2, 4)] + [cursor + "!!!!", "!!!!" + cursor, cursor * 2]
    for text in changed:
        assert_problem(api.get(f"/api/notes?cursor={text}"), 400, "invalid", ["cursor"])


def test_the_cursor_of_another_limit_goes_on_from_the_same_place(api, rows):
    cursor = urlsplit(api.get("/api/notes?limit=2").json()["next"]).query.split("cursor=")[1]
    assert ids(api.get(f"/api/notes?limit=3&cursor={cursor}")) == rows[2:5]


@pytest.mark.parametrize("name", ["nmae", "page", "format", "Limit", "sort", "%00", "version", "id"])
def test_an_unknown_query_parameter_is_refused_by_name(api, name):
    (error,) = assert_problem(api.get(f"/api/notes?{name}=1"), 400, "invalid")
    assert error["field"] == (name if name != "%00" else "\x00")


def test_a_flood_of_query_parameters_is_refused(api):
    query = "&".join(f"p{n}=1" for n in range(2000))
    assert_problem(api.get(f"/api/notes?{query}"), 400, "invalid")


@pytest.mark.parametrize("field", ["name", "cursor"])
@pytest.mark.parametrize("value", ["%00", "a%00b"])
def test_nul_in_a_query_is_refused(api, field, value):
    assert_problem(api.get(f"/api/notes?{field}={value}"), 400, "invalid", [field])
