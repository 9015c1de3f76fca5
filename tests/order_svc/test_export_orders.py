"""The export of orders in the admin: a job that writes CSV."""

import csv
import io
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User

from order_svc import exporting
from order_svc.models import Order, OrderLine
from order_svc.privacy import erase
from platform_core.jobs import Job, JobChunk, JobItem, queue, run_jobs
from platform_core.jobs.retention import trim_jobs
from tests.admin_pages import act, url
from tests.clients import Browser
from tests.order_svc.conftest import ANN, BOB, DESK, LAMP
from tests.order_svc.test_move_many_orders import across, confirmed, page_of, text_of, work

pytestmark = pytest.mark.django_db


def downloaded(client, job):
    answer = client.get(page_of(job, "result"))
    assert answer.status_code == 200 and answer["Content-Disposition"] == 'attachment; filename="orders.csv"'
    return answer.getvalue()


def exported(client, *orders, action="export"):
    """Exports these orders. Returns the bytes of the file."""
    act(client, Order, action, *orders)
    return downloaded(client, confirmed(client, Job.objects.latest("pk")))


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_a_line_for_each_product_of_each_order(admin_client, place, order_in):
    lines = [{"productId": product, "quantity": 2} for product in (LAMP, DESK)]
    placed = Order.objects.get(pk=place({"userId": ANN, "items": lines}).json()["id"])
    pending = order_in("pending", user_id=BOB, customer_name=None, customer_email=None, customer_address=None)
    Order.objects.filter(pk=placed.pk).update(confirmed_at="2026-01-05T23:30:00.5Z")
    rows = rows_of(exported(admin_client, placed, pending))
    assert tuple(rows[0]) == exporting.COLUMNS
    assert [(row["order"], row["product"], row["quantity"]) for row in rows[:2]] == [
        (str(placed.pk), "Lamp", "2"),
        (str(placed.pk), "Desk", "2"),
    ]
    first = rows[0]
    assert (first["unitPrice"], first["subtotal"], first["total"]) == ("19.99", "39.98", "539.98")
    assert (first["customerName"], first["customerEmail"]) == ("Ann", "ann@example.com")
    assert (first["status"], first["currency"], first["userId"], first["productId"]) == (
        "confirmed", "USD", str(ANN), str(LAMP),
    )  # fmt: skip
    assert first["confirmedAt"] == "2026-01-05T23:30:00.500000Z" and first["createdAt"].endswith("Z")
    assert sum(float(row["subtotal"]) for row in rows[:2]) == float(first["total"])
    last = rows[-1]
    assert (last["order"], last["status"], last["customerName"], last["userId"]) == (
        str(pending.pk), "pending", "", str(BOB),
    )  # fmt: skip


def test_a_single_order_is_asked_about_too_and_nothing_is_written_before(admin_client, order_in):
    answer = act(admin_client, Order, "export", order_in("confirmed"))
    page = answer.content.decode()
    assert "1 order will be written to a CSV file" in page and "Yes: export the orders" in page
    assert "touched" not in page and "change nothing" not in page
    work()
    assert not JobChunk.objects.exists()


def test_the_filter_of_the_list_is_exported_whole(admin_client, order_in, monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 2)
    wanted = [order_in("shipped") for _ in range(5)]
    order_in("confirmed")
    across(admin_client, "export", "?status=shipped")
    job = confirmed(admin_client, Job.objects.get())
    assert (job.state, job.total, job.done, job.changed, job.refused) == ("done", 5, 5, 0, 0)
    content = downloaded(admin_client, job)
    assert [row["order"] for row in rows_of(content)] == [str(order.pk) for order in wanted]
    page = text_of(admin_client, job)
    assert "Download the file" in page and "Unchanged" not in page and "Refused" not in page


def test_a_spreadsheet_finds_no_formula(admin_client, order_in):
    order = order_in("confirmed", customer_name="=HYPERLINK(1)", customer_address='-1,"x"\n@y')
    OrderLine.objects.filter(order=order).update(name="+cmd")
    (row,) = rows_of(exported(admin_client, order))
    assert (row["customerName"], row["product"]) == ("'=HYPERLINK(1)", "'+cmd")
    assert row["customerAddress"] == '\'-1,"x"\n@y'


def test_a_byte_order_mark_for_excel_only(admin_client, order_in):
    order = order_in("confirmed")
    assert exported(admin_client, order).startswith(b"order,status")
    assert exported(admin_client, order, action="export_for_excel").startswith(b"\xef\xbb\xbforder,status")


def test_an_export_that_was_interrupted_goes_on_where_it_was(admin_client, order_in, monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 2)
    orders = [order_in("confirmed") for _ in range(5)]
    act(admin_client, Order, "export", *orders)
    job = Job.objects.get()
    admin_client.post(page_of(job, "confirm"))
    real, calls = exporting._append, []

    def dies_on_the_second_page(*arguments):
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr(exporting, "_append", dies_on_the_second_page)
    run_jobs(threading.Event())
    job.refresh_from_db()
    assert (job.state, job.done) == ("running", 2)
    assert admin_client.get(page_of(job, "result")).status_code == 302, "an incomplete file is not given out"
    Job.objects.update(available_at="2020-01-01T00:00:00Z")
    work()
    content = downloaded(admin_client, Job.objects.get())
    assert [row["order"] for row in rows_of(content)] == [str(order.pk) for order in orders]


def test_a_stopped_export_gives_no_file(admin_client, order_in):
    act(admin_client, Order, "export", order_in("confirmed"))
    job = Job.objects.get()
    admin_client.post(page_of(job, "confirm"))
    claimed = queue.claim()
    queue.stop(claimed)
    queue.give_back(claimed)
    work()
    assert admin_client.get(page_of(job, "result")).status_code == 302
    assert not JobChunk.objects.exists() and Job.objects.get().state == "stopped"


def test_only_who_may_change_orders_exports_them(admin_client, admin_user, order_in):
    user = User.objects.create_user("support", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_order"))
    viewer = Browser()
    viewer.force_login(user)
    assert viewer.get(url(Order, "changelist")).status_code == 200
    act(viewer, Order, "export", order_in("confirmed"))
    assert not Job.objects.exists()
    job = queue.draft(exporting.KIND, user, Order.objects.all())
    assert viewer.post(page_of(job, "confirm")).status_code == 403
    assert Job.objects.get().state == "draft"
    done = confirmed(admin_client, queue.draft(exporting.KIND, admin_user, Order.objects.all()))
    assert admin_client.get(page_of(done, "result")).status_code == 200
    assert viewer.get(page_of(done, "result")).status_code == 403


def test_the_file_is_erased_after_a_day(admin_client, order_in):
    order = order_in("delivered")
    exported(admin_client, order)
    job = Job.objects.get()
    trim_jobs()
    assert JobChunk.objects.exists()
    Job.objects.update(finished_at=job.finished_at - timedelta(hours=25))
    trim_jobs()
    assert not JobChunk.objects.exists()
    assert admin_client.get(page_of(job, "result")).status_code == 302
    assert "The file has been erased." in text_of(admin_client, job)
    assert JobItem.objects.exists(), "the selection is kept as long as the job"


def test_an_erased_customer_is_not_in_a_later_export(admin_client, order_in):
    order = order_in("delivered")
    erase(order.user_id)
    (row,) = rows_of(exported(admin_client, order))
    assert (row["customerName"], row["customerEmail"], row["customerAddress"]) == ("", "", "")
