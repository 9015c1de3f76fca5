"""PUT and PATCH /api/users/{id}."""

import pytest
from django.contrib.auth.hashers import check_password

from platform_core.events.models import Event
from tests.wire import assert_problem, at_once
from user_svc.models import User

pytestmark = pytest.mark.django_db

BOB = {"name": "Bob", "email": "bob@example.com"}


@pytest.fixture
def url(ann) -> str:
    return f"/api/users/{ann['id']}"


def test_put_replaces_the_whole(api, ann, url):
    answer = api.put(url, BOB)
    assert answer.status_code == 200
    assert answer["ETag"] == '"2"'
    changed = answer.json()
    assert changed == {**ann, **BOB, "phone": "", "address": "", "updatedAt": changed["updatedAt"]}
    assert changed["updatedAt"] > ann["updatedAt"]
    assert api.get(url).json() == changed


@pytest.mark.parametrize("missing", ["name", "email"])
def test_put_requires_name_and_email(api, ann, url, missing):
    body = {key: value for key, value in BOB.items() if key != missing}
    assert_problem(api.put(url, body), 400, "invalid", [missing])
    assert api.get(url).json() == ann


@pytest.mark.parametrize(
    "part, shown",
    [
        ({"name": " Anna "}, {"name": "Anna"}),
        ({"email": "anna@example.com"}, {"email": "anna@example.com"}),
        ({"email": "ANN@example.com"}, {"email": "ANN@example.com"}),
        ({"phone": None}, {"phone": ""}),
        ({"phone": "1", "address": ""}, {"phone": "1", "address": ""}),
        ({}, {}),
    ],
)
def test_patch_changes_a_part_and_leaves_the_rest(api, ann, url, part, shown):
    answer = api.patch(url, part)
    assert answer.status_code == 200
    assert answer.json() == {**ann, **shown, "updatedAt": answer.json()["updatedAt"]}
    assert api.get(url).json() == answer.json()


@pytest.mark.parametrize(
    "part",
    [{"name": ""}, {"name": None}, {"name": 5}, {"email": "x"}, {"email": None}, {"phone": 5}, {"password": "x"}],
)
@pytest.mark.parametrize("method", ["put", "patch"])
def test_updates_have_the_same_validation_as_creation(api, ann, url, method, part):
    body = {**BOB, **part} if method == "put" else part
    assert_problem(getattr(api, method)(url, body), 400, "invalid", part)
    assert api.get(url).json() == ann


@pytest.mark.parametrize("method", ["put", "patch"])
@pytest.mark.parametrize("email", ["bob@example.com", "BOB@Example.com"])
def test_an_email_that_another_one_has_is_refused(api, ann, url, method, email):
    api.post("/api/users", BOB)
    assert_problem(getattr(api, method)(url, {"name": "Ann", "email": email}), 409, "email_taken")
    assert api.get(url).json() == ann


@pytest.mark.parametrize("method", ["put", "patch"])
def test_read_only_fields_cannot_be_changed(api, ann, url, method):
    answered = {"id": "77", "isActive": False, "createdAt": "2001-01-01T00:00:00Z", "updatedAt": "x"}
    unknown = {"is_active": False, "version": 50, "isStaff": True}
    assert_problem(getattr(api, method)(url, {**BOB, **answered, **unknown}), 400, "invalid", unknown)
    answer = getattr(api, method)(url, {**BOB, **answered})
    assert answer.status_code == 200
    assert answer.json()["id"] == ann["id"]
    assert answer.json()["isActive"] is True
    assert answer.json()["createdAt"] == ann["createdAt"]
    assert answer["ETag"] == '"2"'


def test_a_password_stays_unless_another_is_sent(api, url):
    api.patch(url, {"password": "first secret phrase"})
    api.put(url, BOB)
    assert check_password("first secret phrase", User.objects.get().password)
    answer = api.patch(url, {"password": "second secret phrase"})
    assert "argon2" not in answer.content.decode() and "password" not in answer.json()
    assert check_password("second secret phrase", User.objects.get().password)


def test_the_version_rises_with_every_change(api, url):
    tags = [api.get(url)["ETag"]]
    for method, body in [("patch", {"phone": "1"}), ("put", BOB), ("patch", {"phone": "1"}), ("put", BOB)]:
        tags.append(getattr(api, method)(url, body)["ETag"])
        assert api.get(url)["ETag"] == tags[-1]
    versions = [int(tag.strip('"')) for tag in tags]
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_stale_if_match_is_refused(api, ann, url, method):
    assert_problem(getattr(api, method)(url, BOB, headers={"If-Match": '"2"'}), 412, "precondition_failed")
    assert api.get(url).json() == ann
    assert Event.objects.count() == 1
    assert getattr(api, method)(url, BOB, headers={"If-Match": '"1"'}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_one_of_many_concurrent_changes_of_a_version_succeeds(api, url):
    answers = at_once(lambda n=n: api.patch(url, {"phone": str(n)}, headers={"If-Match": '"1"'}) for n in range(8))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert api.get(url).json() == winner


@pytest.mark.django_db(transaction=True)
def test_changes_of_different_parts_at_the_same_moment_all_survive(api, url):
    parts = [{"name": "New"}, {"phone": "999"}, {"address": "Elsewhere"}, {"email": "new@example.com"}]
    answers = at_once(lambda part=part: api.patch(url, part) for part in parts)
    assert {answer.status_code for answer in answers} == {200}
    got = api.get(url)
    assert got["ETag"] == '"5"'
    assert all(got.json()[key] == value for part in parts for key, value in part.items())
