"""Mails are rendered from templates by type, with the shop's name and the sender's data."""

import json
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.template import engines

from notification_svc.models import Notification
from platform_core.conf.checks import START
from tests.admin_pages import url
from tests.notification_svc.conftest import deliver, time_passes

pytestmark = pytest.mark.django_db(transaction=True)
LINES = [
    {"name": "Lamp <small>", "quantity": 2, "unitPrice": "19.99", "subtotal": "39.98"},
    {"name": "Desk & chair", "quantity": 1, "unitPrice": "250.00", "subtotal": "250.00"},
]
ORDER = {"orderId": "9", "customer": {"name": "Ann"}, "total": "289.98", "currency": "USD", "lines": LINES}
CONFIRMED = {"type": "order_confirmed", "subject": "Order 9 is confirmed", "message": "Thank you.", "data": ORDER}


@pytest.fixture
def mail(send, users, mailoutbox):
    """Sends a message and returns the mail."""

    def mail(**content):
        send(**content)
        deliver()
        return mailoutbox[-1]

    return mail


@pytest.fixture
def folder(settings, tmp_path):
    """The shop's own folder of templates, which is empty."""
    settings.MAIL_TEMPLATES = str(tmp_path)
    settings.TEMPLATES = [
        {**engine, "DIRS": [tmp_path, *engine["DIRS"]]} if engine.get("NAME", "").startswith("mail_") else engine
        for engine in settings.TEMPLATES
    ]
    engines.__init__()
    yield tmp_path
    engines.__init__()


def html_of(mail):
    ((content, kind),) = mail.alternatives
    assert kind == "text/html"
    return content


def test_a_confirmation_lists_the_lines_in_text_and_html(mail, settings):
    settings.SHOP_NAME = "Lamps & more"
    sent = mail(**CONFIRMED)
    assert sent.subject == "Order 9 is confirmed"
    assert sent.body.splitlines() == [
        "Hello Ann,",
        "",
        "Thank you for your order.",
        "",
        "2 × Lamp <small>: 39.98 USD",
        "1 × Desk & chair: 250.00 USD",
        "",
        "Total: 289.98 USD",
        "",
        "Lamps & more",
    ]
    html = html_of(sent)
    for part in ("Hello Ann,", "Lamp &lt;small&gt;", "Desk &amp; chair", "19.99", "289.98 USD", "Lamps &amp; more"):
        assert part in html


@pytest.mark.parametrize("type_", ["order_confirmed", "order_shipped", "order_cancelled"])
def test_a_mail_says_that_lines_are_left_out(mail, type_):
    sent = mail(**{**CONFIRMED, "type": type_, "data": {**ORDER, "moreLines": 7}})
    assert "and 7 more" in sent.body and "and 7 more" in html_of(sent)


@pytest.mark.parametrize("type_", ["order_confirmed", "order_shipped", "order_cancelled"])
@pytest.mark.parametrize("data", [{}, {"lines": 5, "customer": "x"}, {"lines": [None, "x"]}])
def test_a_mail_whose_data_is_not_as_expected_has_the_message(mail, type_, data):
    if "lines" in data and isinstance(data["lines"], int):
        data = {**data, "lines": []}
    sent = mail(**{**CONFIRMED, "type": type_, "message": "Your <order> 9.", "data": data})
    if not data.get("lines"):
        assert "Your <order> 9." in sent.body and "Your &lt;order&gt; 9." in html_of(sent)
    assert sent.body.rstrip().endswith("Shop")


def test_a_type_without_a_template_is_the_message_alone(mail):
    sent = mail(message="As it is: <b>", data={"a": 1})
    assert (sent.body, sent.alternatives) == ("As it is: <b>", [])


def test_the_shops_own_templates_take_precedence_one_by_one(folder, mail):
    (folder / "order_confirmed.txt").write_text("{{ shop_name }}: {{ data.total }} for {{ data.customer.name }} & co")
    sent = mail(**CONFIRMED)
    assert sent.body == "Shop: 289.98 for Ann & co"
    assert "Thank you for your order." in html_of(sent)


def test_a_shops_own_layout_is_extended_by_the_other_templates(folder, mail):
    (folder / "layout.txt").write_text("<<{% block content %}{% endblock %}>>")
    sent = mail(**{**CONFIRMED, "type": "order_shipped", "data": {}})
    assert sent.body == "<<Thank you.>>"


def test_a_type_of_the_shop_may_have_html_only(folder, mail):
    (folder / "parcel.html").write_text("<b>{{ message }}</b>")
    sent = mail(type="parcel", message="It is <here>.")
    assert (sent.body, html_of(sent)) == ("It is <here>.", "<b>It is &lt;here&gt;.</b>")


def test_the_check_finds_nothing_now(folder):
    (folder / "order_confirmed.html").write_text('{% extends "layout.html" %}')
    (folder / "readme.md").write_text("{% garbage")
    call_command("check", tags=[START])


def test_a_template_that_cannot_be_read_fails_the_check(folder):
    (folder / "order_confirmed.txt").write_text("{% if %}")
    (folder / "other.html").write_bytes(b"\xff")
    with pytest.raises(CommandError, match=r"E003.*order_confirmed\.txt cannot be read(?s:.*)other\.html cannot"):
        call_command("check", tags=[START])


def test_a_folder_that_is_missing_fails_the_check(settings, tmp_path):
    settings.MAIL_TEMPLATES = str(tmp_path / "nowhere")
    with pytest.raises(CommandError, match=r"E002.*there is no folder .*nowhere"):
        call_command("check", tags=[START])


def test_a_template_that_fails_is_a_failed_attempt_and_says_so(folder, send, users, state, mailoutbox):
    (folder / "order_confirmed.txt").write_text('{% include "missing.txt" %}')
    failing, other = send(**CONFIRMED), send()
    deliver()
    assert state(failing)["status"] == "queued"
    assert "missing.txt" in state(failing)["lastError"]
    assert state(other)["status"] == "sent"
    (folder / "missing.txt").write_text("There.")
    engines.__init__()
    time_passes()
    deliver()
    assert [mail.body for mail in mailoutbox] == ["Your parcel waits.", "There."]


def test_the_admin_previews_the_text_and_the_html(admin_client, send):
    send(**CONFIRMED)
    pk = Notification.objects.get().pk
    page = admin_client.get(url(Notification, "change", pk)).content.decode()
    assert "2 × Lamp &lt;small&gt;: 39.98 USD" in page
    link = f"/admin/notification_svc/notification/{pk}/html/"
    assert link in page
    answer = admin_client.get(link)
    assert "<td" in answer.content.decode() and "Lamp &lt;small&gt;" in answer.content.decode()
    assert "script-src 'self'" in answer["Content-Security-Policy"]


def test_the_preview_of_a_plain_message_has_no_html(admin_client, send):
    send()
    pk = Notification.objects.get().pk
    assert "Your parcel waits." in admin_client.get(url(Notification, "change", pk)).content.decode()
    assert admin_client.get(f"/admin/notification_svc/notification/{pk}/html/").status_code == 404
    assert admin_client.get("/admin/notification_svc/notification/404/html/").status_code == 404


def test_the_preview_of_a_failing_template_shows_the_error(folder, admin_client, send):
    (folder / "order_confirmed.txt").write_text('{% include "missing.txt" %}')
    send(**CONFIRMED)
    page = admin_client.get(url(Notification, "change", Notification.objects.get().pk)).content.decode()
    assert "The template fails: TemplateDoesNotExist: missing.txt" in page


def test_the_preview_is_for_those_who_may_see_notifications(client, send, django_user_model):
    send(**CONFIRMED)
    link = f"/admin/notification_svc/notification/{Notification.objects.get().pk}/html/"
    assert client.get(link).status_code == 302
    client.force_login(django_user_model.objects.create_user("other", is_staff=True))
    assert client.get(link).status_code == 403


def test_the_stored_data_is_exact(send):
    send(**CONFIRMED)
    assert json.loads(Notification.objects.get().data) == ORDER


AMOUNTS = [("USD", "1234.5", "1,234.50 USD", "4,938.00 USD"), ("JPY", "1500.00", "1,500 JPY", "6,000 JPY")]
"""Currency, price, and how the price and four times the price are shown."""


def priced(code, price):
    total = str(4 * Decimal(price))
    line = {"name": "Lamp", "quantity": 4, "unitPrice": price, "subtotal": total}
    return {**CONFIRMED, "data": {**ORDER, "currency": code, "total": total, "lines": [line]}}


@pytest.mark.parametrize("code, price, one, all_", AMOUNTS)
def test_a_mail_has_the_decimals_of_the_currency(mail, code, price, one, all_):
    sent = mail(**priced(code, price))
    assert f"4 × Lamp: {all_}\n" in sent.body and f"Total: {all_}\n" in sent.body
    html = html_of(sent)
    for part in (f">{one.split()[0]}<", f">{all_.split()[0]}<", f">{all_}<"):
        assert part in html


@pytest.mark.parametrize("code, price, one, all_", AMOUNTS)
def test_the_preview_has_the_decimals_of_the_currency(admin_client, send, code, price, one, all_):
    send(**priced(code, price))
    pk = Notification.objects.get().pk
    assert f"Total: {all_}" in admin_client.get(url(Notification, "change", pk)).content.decode()
    assert (
        f">{one.split()[0]}<" in admin_client.get(f"/admin/notification_svc/notification/{pk}/html/").content.decode()
    )


def test_a_shops_own_template_can_show_amounts(folder, mail):
    (folder / "order_confirmed.txt").write_text("{% money data.total data.currency %}, {{ data.total|money }}")
    assert mail(**priced("JPY", "1500.00")).body == "6,000, 6,000.00"
