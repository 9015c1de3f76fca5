"""DELETE /api/users/{id}."""

import pytest

from platform_core.events.models import Event
from tests.wire import assert_problem, at_once
from user_svc.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def url(ann) -> str:
    return f"/api/users/{ann['id']}"


def test_it_answers_204_and_the_user_is_gone(api, url):
    answer = api.delete(url)
    assert answer.status_code == 204
    assert answer.content == b""
    for method, *body in (("get",), ("delete",), ("put", {"name": "X", "email": "x@example.com"}), ("patch", {})):
        assert_problem(getattr(api, method)(url, *body), 404, "not_found")
    assert api.get("/api/users").json()["results"] == []


def test_the_email_is_free_again(api, ann, url):
    api.delete(url)
    again = api.post("/api/users", {"name": "Ann", "email": ann["email"].upper()})
    assert again.status_code == 201
    assert again.json()["id"] != ann["id"]


def test_no_personal_data_is_left(api, url):
    api.delete(url)
    assert not User.objects.exists()
    assert not any("ann" in str(value).lower() for event in Event.objects.all() for value in event.data.values())


@pytest.mark.parametrize("tag", ['"1"', "*", '"9","1"'])
def test_the_present_version_may_be_deleted(api, url, tag):
    assert api.delete(url, headers={"If-Match": tag}).status_code == 204


@pytest.mark.parametrize("tag", ['"2"', 'W/"1"', "garbage", ""])
def test_a_stale_if_match_is_refused(api, url, tag):
    assert_problem(api.delete(url, headers={"If-Match": tag}), 412, "precondition_failed")
    assert api.get(url).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_one_of_many_concurrent_deletes_succeeds(api, url):
    answers = at_once([lambda: api.delete(url)] * 6)
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 5
    assert Event.objects.filter(type="user.deleted").count() == 1
