"""The number of queries of each request. A higher number means a slower request."""

import pytest

from tests.wire import statements_of

pytestmark = pytest.mark.django_db
BOB = {"name": "Bob", "email": "bob@example.com"}


@pytest.mark.parametrize("path", ["/api/users/{id}", "/api/users", "/api/users?search=ann", "/api/users?email=A@x.org"])
def test_reading_is_one_query(api, ann, django_assert_num_queries, path):
    with django_assert_num_queries(1):
        assert api.get(path.format(**ann)).status_code == 200


def test_a_further_page_and_the_feed_are_one_query(api, ann, django_assert_num_queries):
    api.post("/api/users", BOB)
    following = api.get("/api/users?limit=1").json()["next"]
    with django_assert_num_queries(1):
        assert api.get(following).status_code == 200
    with django_assert_num_queries(1):
        assert api.get("/api/events").status_code == 200


def test_not_modified_and_not_found_are_one_query(api, ann, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert api.get(f"/api/users/{ann['id']}", headers={"If-None-Match": '"1"'}).status_code == 304
    with django_assert_num_queries(1):
        assert api.get("/api/users/0").status_code == 404


def test_malformed_requests_cost_no_query(api, ann, django_assert_num_queries):
    with django_assert_num_queries(0):
        api.get("/api/users/99999999999999999999")
        api.get("/api/users?limit=0")
        api.post("/api/users", {"name": ""})
        api.post("/api/users", {"name": ""}, headers={"X-Request-Timeout": "x"})


@pytest.mark.parametrize(
    "method, path, headers, queries",
    [
        ("post", "/api/users", {}, 2),
        ("post", "/api/users", {"Idempotency-Key": "k"}, 5),
        ("put", "/api/users/{id}", {}, 4),
        ("patch", "/api/users/{id}", {}, 4),
        ("delete", "/api/users/{id}", {}, 17),  # with the erasure here, and the commands to the other services
    ],
)
def test_writing_is_a_few_queries(api, ann, method, path, headers, queries):
    def write():
        body = [] if method == "delete" else [BOB]
        assert getattr(api, method)(path.format(**ann), *body, headers=headers).status_code < 300

    assert len(statements_of(write)) <= queries
