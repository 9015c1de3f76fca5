"""Changes of one resource: PUT, PATCH, If-Match. Tested with notes."""

import json

import pytest

from platform_core.events.models import Event
from tests.wire import assert_problem, at_once

pytestmark = pytest.mark.django_db

BOB = {"name": "Bob", "label": "bob@example.com"}


@pytest.fixture
def url(note) -> str:
    return f"/api/notes/{note['id']}"


def test_put_replaces_the_whole(api, note, url):
    answer = api.put(url, BOB)
    assert answer.status_code == 200
    assert answer["ETag"] == '"2"'
    changed = answer.json()
    assert changed == {**note, **BOB, "text": "", "updatedAt": changed["updatedAt"]}
    assert changed["updatedAt"] > note["updatedAt"]
    assert api.get(url).json() == changed


@pytest.mark.parametrize("missing", ["name", "label"])
def test_put_requires_name_and_label(api, note, url, missing):
    body = {key: value for key, value in BOB.items() if key != missing}
    assert_problem(api.put(url, body), 400, "invalid", [missing])
    assert api.get(url).json() == note


@pytest.mark.parametrize(
    "part, shown",
    [
        ({"name": " Anna "}, {"name": "Anna"}),
        ({"label": "anna@example.com"}, {"label": "anna@example.com"}),
        ({"label": "ANN@example.com"}, {"label": "ANN@example.com"}),
        ({"text": None}, {"text": ""}),
        ({"text": "1"}, {"text": "1"}),
        ({}, {}),
    ],
)
def test_patch_changes_a_part_and_leaves_the_rest(api, note, url, part, shown):
    answer = api.patch(url, part)
    assert answer.status_code == 200
    assert answer.json() == {**note, **shown, "updatedAt": answer.json()["updatedAt"]}
    assert api.get(url).json() == answer.json()


@pytest.mark.parametrize(
    "part",
    [{"name": ""}, {"name": None}, {"name": 5}, {"label": ""}, {"label": None}, {"text": 5}],
)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_updates_have_the_same_validation_as_creation(api, note, url, method, part):
    body = {**BOB, **part} if method == "put" else part
    assert_problem(getattr(api, method)(url, body), 400, "invalid", part)
    assert api.get(url).json() == note


@pytest.mark.parametrize("method", ["put", "patch"])
def test_read_only_fields_cannot_be_changed(api, note, url, method):
    answered = {"id": "77", "createdAt": "2001-01-01T00:00:00Z", "updatedAt": "2001-01-01T00:00:00Z"}
    answer = getattr(api, method)(url, {**BOB, **answered})
    assert answer.status_code == 200
    assert answer.json()["id"] == note["id"]
    assert answer.json()["createdAt"] == note["createdAt"]
    assert answer["ETag"] == '"2"'


def test_the_version_rises_with_every_change(api, url):
    tags = [api.get(url)["ETag"]]
    for method, body in [("patch", {"text": "1"}), ("put", BOB), ("patch", {"text": "1"}), ("put", BOB)]:
        tags.append(getattr(api, method)(url, body)["ETag"])
        assert api.get(url)["ETag"] == tags[-1]
    versions = [int(tag.strip('"')) for tag in tags]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("tag", ['"1"', "*", '"9", "1"', '"1","9"', 'W/"1", "1"'])
@pytest.mark.parametrize("method", ["put", "patch"])
def test_the_present_version_may_be_changed(api, url, method, tag):
    assert getattr(api, method)(url, BOB, headers={"If-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    "tag",
    [
        '"2"',
        '"0"',
        'W/"1"',
        "1",
        "garbage",
        "",
        '"1',
        'x"1"',
        '"01"',
        '""',
        '"a"',
        '"-1"',
        '"99999999999999999999"',
        "\xff",
    ],
)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_stale_if_match_is_refused(api, note, url, method, tag):
    assert_problem(getattr(api, method)(url, BOB, headers={"If-Match": tag}), 412, "precondition_failed")
    assert api.get(url).json() == note
    assert Event.objects.count() == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_write_that_may_only_create_is_refused_if_the_resource_exists(api, note, url, method):
    body = {"name": "Bob", "label": "b@example.com"}
    for tag in ("*", " * "):
        answer = api.client.generic(method, url, json.dumps(body), "application/json", headers={"If-None-Match": tag})
        assert_problem(answer, 412, "precondition_failed")
    assert api.get(url).json() == note
    other = {"If-None-Match": '"77"'}
    assert api.client.generic(method, url, json.dumps(body), "application/json", headers=other).status_code < 300


@pytest.mark.parametrize("tag", ['"1"', "*", "garbage"])
def test_a_missing_resource_is_404_for_any_if_match(api, tag):
    assert_problem(api.put("/api/notes/1", BOB, headers={"If-Match": tag}), 404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_one_of_many_concurrent_changes_of_a_version_succeeds(api, url):
    answers = at_once(lambda n=n: api.patch(url, {"text": str(n)}, headers={"If-Match": '"1"'}) for n in range(8))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert api.get(url).json() == winner


@pytest.mark.django_db(transaction=True)
def test_changes_of_different_parts_at_the_same_moment_all_survive(api, url):
    parts = [{"name": "New"}, {"text": "999"}, {"label": "new@example.com"}]
    answers = at_once(lambda part=part: api.patch(url, part) for part in parts)
    assert {answer.status_code for answer in answers} == {200}
    got = api.get(url)
    assert got["ETag"] == '"4"'
    assert all(got.json()[key] == value for part in parts for key, value in part.items())
