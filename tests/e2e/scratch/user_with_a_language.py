"""Users have a `language`: it is taken and shown wherever a user is, and no event tells it."""

import sys
from typing import Any

from tests.e2e.scratch.service import running, sent, staff
from tests.wire import form_fields

URL = "/api/users"
ADA = {"name": "Ada", "email": "ada@example.com"}


def one(api: Any, user_id: str) -> str:
    return sent(api.get(f"{URL}/{user_id}"), 200)["language"]


def through_the_api(api: Any) -> str:
    made = sent(api.post(URL, {**ADA, "language": "en"}), 201)
    url = f"{URL}/{made['id']}"
    assert made["language"] == one(api, made["id"]) == "en"
    assert sent(api.put(url, {**ADA, "language": "fr"}), 200)["language"] == one(api, made["id"]) == "fr"
    assert sent(api.patch(url, {"language": "de"}), 200)["language"] == one(api, made["id"]) == "de"
    assert sent(api.patch(url, {"phone": "1"}), 200)["language"] == one(api, made["id"]) == "de"
    assert [each["language"] for each in sent(api.get(URL), 200)["results"]] == ["de"]
    return made["id"]


def in_the_admin(api: Any, user_id: str) -> None:
    browser = staff()
    url = f"/admin/user_svc/user/{user_id}/change/"
    page = browser.get(url).content.decode()
    assert 'name="language"' in page
    assert browser.post(url, {**form_fields(page), "language": "it"}).status_code == 302
    assert one(api, user_id) == "it"


def in_no_event() -> None:
    from platform_core.events.models import Event

    assert Event.objects.count() == 5
    for event in Event.objects.all():
        assert set(event.data) == {"version", "createdAt", "isActive"}


def main() -> int:
    with running("user_svc") as api:
        in_the_admin(api, through_the_api(api))
        in_no_event()
    print("all of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
