"""The page /mails of development."""

import subprocess
import sys
import time

import pytest
from django.db import DatabaseError
from django.urls import reverse

from notification_svc.development import mailbox
from notification_svc.development.models import DevelopmentMail
from notification_svc.privacy import erase
from platform_core.conf.environment import ROOT
from platform_core.http import DeadlineExceeded, Unavailable, context
from tests.notification_svc.conftest import deliver
from tests.notification_svc.test_mails import CONFIRMED
from tests.notification_svc.test_send_confidentially import SECRET, TO_ANN, stored
from tests.suites import plain_environment

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(client):
    """The page as a browser gets it."""

    def page(path: str = "/mails", status: int = 200):
        answer = client.get(path, headers={"Accept": BROWSER})
        assert answer.status_code == status, answer.content
        return answer

    return page


@pytest.fixture
def sent(send, users, mailoutbox):
    """Sends a mail and returns the path of its page."""

    def sent(**content):
        assert send(**content).status_code == 201
        deliver()
        return f"/mails/{DevelopmentMail.objects.first().pk}"

    return sent


def test_the_list_shows_the_mails_newest_first(page, sent, api):
    assert "No mail has been sent yet" in page().content.decode()
    sent(subject="First <b>")
    newest = sent(subject="Second")
    text = page().content.decode()
    assert text.index("Second") < text.index("First &lt;b&gt;")
    assert f'href="{newest}"' in text and "ann@example.com" in text
    results = api.get("/mails").json()["results"]
    assert [each["subject"] for each in results] == ["Second", "First <b>"]
    assert page()["Cache-Control"] == "no-store"


def test_mails_are_searched_by_recipient(page, sent, users):
    sent(subject="To Ann")
    sent(subject="To Bob", recipient="Bob@example.org")
    text = page("/mails?to=bob@EX").content.decode()
    assert "To Bob" in text and "To Ann" not in text and 'value="bob@EX"' in text
    assert "No mail went to" in page("/mails?to=<zoe>").content.decode()
    assert "<zoe>" not in page("/mails?to=<zoe>").content.decode()
    assert page("/mails?x=1", 400)


def test_a_mail_shows_its_text_and_its_html_in_a_frame_without_scripts(page, sent):
    path = sent(**CONFIRMED)
    answer = page(path)
    text = answer.content.decode()
    assert "2 × Lamp &lt;small&gt;: 39.98 USD" in text
    assert f'<iframe src="{path}/html"' in text and 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in text
    assert "frame-src 'self'" in answer["Content-Security-Policy"]
    frame = page(f"{path}/html")
    assert "Lamp &lt;small&gt;" in frame.content.decode()
    assert '<head><base target="_blank">' in frame.content.decode()
    policy = frame["Content-Security-Policy"]
    for part in ("default-src 'none'", "sandbox allow-popups allow-popups-to-escape-sandbox", "frame-ancestors 'self'"):
        assert part in policy
    assert "script" not in policy
    assert frame["X-Frame-Options"] == "SAMEORIGIN"


def test_a_mail_without_html_has_no_frame(page, sent, api):
    path = sent(message="See https://shop.example.com/a?b=1&c=2.")
    assert "<iframe" not in page(path).content.decode()
    page(f"{path}/html", 404)
    assert api.get(path).json()["html"] is None
    page("/mails/99999999", 404)


def test_the_link_of_a_mail_with_a_token_can_be_followed_and_is_readable_nowhere_else(
    page, send, mailoutbox, api, admin_client
):
    answer = send(TO_ANN)
    deliver()
    path = f"/mails/{DevelopmentMail.objects.get().pk}"
    assert f'<a href="{SECRET}"' in page(path).content.decode()
    assert SECRET in api.get(path).json()["text"]
    url = reverse("admin:notification_svc_notification_change", args=[answer.json()["id"]])
    assert "planted" not in stored() + admin_client.get(url).content.decode() + page().content.decode()


def test_the_pages_have_the_bar_and_the_colours_of_all_pages(page, sent):
    for path in (sent(), "/mails"):
        text = page(path).content.decode()
        assert 'class="office-bar"' in text
        for file in ("theme.css", "theme.js"):
            assert f"platform_core/{file}" in text


def test_what_a_mail_says_runs_nowhere_on_the_page(page, sent):
    text = page(sent(subject="<script>alert(1)</script>", message="<img src=x onerror=alert(1)>")).content.decode()
    assert "<script>alert" not in text and "<img src=x" not in text


def test_only_the_last_mails_are_kept(monkeypatch, sent, page):
    monkeypatch.setattr(mailbox, "KEPT", 3)
    for number in range(5):
        sent(subject=f"Mail {number}")
    assert DevelopmentMail.objects.count() == 3
    text = page().content.decode()
    assert "Mail 4" in text and "Mail 1" not in text


def test_a_mail_that_is_too_large_is_sent_and_not_kept(monkeypatch, send, users, mailoutbox):
    monkeypatch.setattr(mailbox, "LARGEST", 1000)
    send(message="x" * 1000)
    deliver()
    assert len(mailoutbox) == 1 and not DevelopmentMail.objects.exists()


@pytest.mark.parametrize(
    "error", [DatabaseError("no"), DeadlineExceeded(), Unavailable("Postgres is silent.")], ids=repr
)
def test_a_mail_that_cannot_be_kept_is_not_sent_again(monkeypatch, send, users, mailoutbox, state, error):
    def fail(*args, **values):
        raise error

    monkeypatch.setattr(DevelopmentMail.objects, "create", fail)
    answer = send()
    deliver()
    assert state(answer)["status"] == "sent" and len(mailoutbox) == 1


def test_a_mail_that_was_accepted_after_the_deadline_is_kept():
    with context.entered(context.Context(deadline=time.monotonic() - 1)):
        mailbox.keep(1, mailbox.Letter("shop@example.com", "ann@example.com", "Hello", "Hello.", None))
    assert DevelopmentMail.objects.count() == 1


def test_mails_of_another_secret_key_are_left_out(sent, page, settings):
    path = sent()
    settings.SECRET_KEY = "another" * 10
    assert "No mail has been sent yet" in page().content.decode()
    page(path, 404)


def test_an_erased_person_has_no_mails(sent):
    sent()
    erase(2)
    assert DevelopmentMail.objects.exists()
    erase(1)
    assert not DevelopmentMail.objects.exists()


def test_in_production_no_mail_is_kept(send, users, mailoutbox, settings):
    send()
    settings.PLATFORM_ENV = "production"
    deliver()
    assert len(mailoutbox) == 1 and not DevelopmentMail.objects.exists()


ASKED = """
import django
django.setup()
from django.conf import settings
from django.core.checks import run_checks
from django.test import Client
from platform_core.auth.checks import check_access_rules
client = Client()
for path in ("/mails", "/mails/1", "/mails/1/html", "/nowhere"):
    print(path, client.get(path, secure=True, HTTP_HOST="shop.example.com").status_code)
print(settings.PLATFORM_ENV, check_access_rules())
"""


def test_in_production_there_is_no_such_page():
    environment = plain_environment() | {
        "DJANGO_SETTINGS_MODULE": "notification_svc.settings",
        "PLATFORM_ENV": "production",
        "SECRET_KEY": "0123456789-not-a-secret-" * 4,
        "ALLOWED_HOSTS": "shop.example.com",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    }
    done = subprocess.run([sys.executable, "-c", ASKED], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if not line.startswith("{")] == [
        "/mails 404",
        "/mails/1 404",
        "/mails/1/html 404",
        "/nowhere 404",
        "production []",
    ], done.stdout + done.stderr
