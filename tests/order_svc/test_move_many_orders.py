"""Actions of the admin over many orders: they ask first, and a worker does them as a job."""

import csv
import io
import threading
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from order_svc.models import Order
from platform_core.jobs import Job, JobItem, run_jobs
from platform_core.outbox.models import OutboxMessage
from tests.admin_pages import act, said, url
from tests.clients import Browser
from tests.order_svc.conftest import forget, left_behind

pytestmark = pytest.mark.django_db


def page_of(job, name="change"):
    return reverse(f"admin:jobs_job_{name}", args=[job.pk])


def text_of(client, job):
    return client.get(page_of(job)).content.decode()


def work():
    while run_jobs(threading.Event()):
        pass


def confirmed(client, job):
    assert client.post(page_of(job, "confirm")).status_code == 302
    work()
    job.refresh_from_db()
    return job


def across(client, action, query=""):
    """Runs an action on all orders that the list shows, over all its pages."""
    some = Order.objects.first()
    chosen = {"action": action, "select_across": "1", "index": "0", "_selected_action": [some.pk]}
    return client.post(url(Order, "changelist") + query, chosen, follow=True)


MOVES = [
    ("cancel", "confirmed", "cancelled", "The stock of 2 orders will be released.", "2 mails will be sent"),
    ("ship", "confirmed", "shipped", "2 orders will be marked as shipped.", "2 mails will be sent"),
    ("deliver", "shipped", "delivered", "2 orders will be marked as delivered.", "No mail will be sent."),
]


@pytest.mark.parametrize("action, state, becomes, says, mails", MOVES)
def test_many_orders_are_moved_after_a_question_as_the_api_moves_them(
    admin_client, admin_user, order_in, action, state, becomes, says, mails
):
    orders = [order_in(state) for _ in range(2)]
    answer = act(admin_client, Order, action, *orders)
    job = Job.objects.get()
    assert answer.redirect_chain == [(page_of(job), 302)]
    page = answer.content.decode()
    assert says in page and mails in page
    work()
    assert set(Order.objects.values_list("status", flat=True)) == {state}, "nothing happens before the answer"
    confirmed(admin_client, job)
    assert set(Order.objects.values_list("status", flat=True)) == {becomes}
    events, messages = left_behind()
    assert events == [f"order.{becomes}"] * 2
    assert sum("release" in message for message in messages) == (2 if becomes == "cancelled" else 0)
    assert sum(message.endswith(f"-{becomes}") for message in messages) == (0 if becomes == "delivered" else 2)
    assert (job.state, job.done, job.changed, job.by) == ("done", 2, 2, f"local:{admin_user.username}")
    history = LogEntry.objects.filter(user=admin_user, object_id__in=[order.pk for order in orders])
    assert set(history.values_list("change_message", flat=True)) == {f"Status changed to {becomes}. (job {job.pk})"}


def test_refused_orders_are_listed_with_their_reasons_and_the_others_are_done(admin_client, order_in):
    shipped, confirmed_one, cancelled = order_in("shipped"), order_in("confirmed"), order_in("cancelled")
    forget()
    answer = act(admin_client, Order, "cancel", shipped, confirmed_one, cancelled)
    page = answer.content.decode()
    for text in ("1 order will be marked", "1 order is cancelled already", "1 order is not confirmed now and will be"):
        assert text in page
    job = confirmed(admin_client, Job.objects.get())
    assert (job.done, job.changed, job.unchanged, job.refused) == (3, 1, 1, 1)
    assert left_behind()[0] == ["order.cancelled"]
    page = text_of(admin_client, job)
    assert "An order that is shipped cannot become cancelled." in page
    assert reverse("admin:order_svc_order_change", args=[shipped.pk]) in page
    answer = admin_client.get(page_of(job, "refused"))
    assert answer["Content-Disposition"] == f'attachment; filename="job-{job.pk}-refused.csv"'
    rows = list(csv.reader(io.StringIO(answer.getvalue().decode())))
    assert rows == [["order", "reason"], [str(shipped.pk), "An order that is shipped cannot become cancelled."]]


def test_all_orders_of_a_filter_are_moved_and_no_later_one(admin_client, order_in, place):
    wanted = [order_in("confirmed") for _ in range(3)]
    other = order_in("shipped")
    across(admin_client, "ship", "?status__exact=confirmed")
    late = Order.objects.get(pk=place().json()["id"])
    job = confirmed(admin_client, Job.objects.get())
    assert job.total == 3
    assert sorted(JobItem.objects.values_list("key", flat=True)) == sorted(order.pk for order in wanted)
    late.refresh_from_db()
    other.refresh_from_db()
    assert (late.status, other.status) == ("confirmed", "shipped")


def test_an_order_that_changed_between_question_and_work_is_refused(admin_client, order_in):
    orders = [order_in("confirmed") for _ in range(2)]
    act(admin_client, Order, "cancel", *orders)
    Order.objects.filter(pk=orders[0].pk).update(status="shipped")
    job = confirmed(admin_client, Job.objects.get())
    assert (job.changed, job.refused) == (1, 1)


def test_a_question_can_be_answered_with_no(admin_client, order_in):
    act(admin_client, Order, "cancel", order_in("confirmed"), order_in("confirmed"))
    answer = admin_client.post(page_of(Job.objects.get(), "discard"), follow=True)
    assert said(answer) == ["Nothing was changed: Cancel the orders was not confirmed."]
    work()
    assert not Job.objects.exists() and set(Order.objects.values_list("status", flat=True)) == {"confirmed"}


def test_a_job_can_be_stopped_on_its_page_and_says_what_is_done(admin_client, order_in):
    act(admin_client, Order, "cancel", order_in("confirmed"), order_in("confirmed"))
    job = Job.objects.get()
    admin_client.post(page_of(job, "confirm"))
    assert "data-unfinished" in text_of(admin_client, job)
    assert admin_client.post(page_of(job, "stop"), follow=True).status_code == 200
    work()
    page = text_of(admin_client, job)
    assert "Stopped. What was done stays done." in page and "data-unfinished" not in page
    assert set(Order.objects.values_list("status", flat=True)) == {"confirmed"}
    answer = admin_client.post(page_of(job, "stop"), follow=True)
    assert said(answer) == ["It had ended already, or is being stopped."]
    answer = admin_client.post(page_of(job, "confirm"), follow=True)
    assert said(answer) == ["It was confirmed already."]


@pytest.mark.parametrize("name", ["confirm", "discard", "stop"])
def test_a_link_alone_changes_nothing(admin_client, order_in, name):
    act(admin_client, Order, "cancel", order_in("confirmed"), order_in("confirmed"))
    assert admin_client.get(page_of(Job.objects.get(), name)).status_code == 405


@pytest.fixture
def member():
    """A browser of staff with these permissions."""

    def sign_in(name, *permissions):
        user = User.objects.create_user(name, is_staff=True)
        user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
        browser = Browser()
        browser.force_login(user)
        return browser

    return sign_in


def test_who_may_only_look_at_orders_neither_starts_nor_sees_jobs(admin_client, member, order_in):
    orders = [order_in("confirmed") for _ in range(2)]
    viewer = member("viewer", "view_order")
    act(viewer, Order, "cancel", *orders)
    assert not Job.objects.exists()
    act(admin_client, Order, "cancel", *orders)
    job = Job.objects.get()
    assert viewer.get(url(Job, "changelist")).status_code == 403
    assert viewer.get(page_of(job), follow=True).status_code in (403, 404)
    for name in ("confirm", "discard", "stop"):
        assert viewer.post(page_of(job, name)).status_code == 403
    assert viewer.get(page_of(job, "refused")).status_code == 403
    job.refresh_from_db()
    assert job.state == "draft"


def test_another_member_may_stop_a_job_but_not_confirm_it_in_somebodys_name(admin_client, member, order_in):
    act(admin_client, Order, "cancel", order_in("confirmed"), order_in("confirmed"))
    job = Job.objects.get()
    operator = member("operator", "view_order", "change_order")
    assert "Waits for the confirmation of" in text_of(operator, job)
    assert operator.post(page_of(job, "confirm")).status_code == 403
    confirm = admin_client.post(page_of(job, "confirm"))
    assert confirm.status_code == 302
    operator.post(page_of(job, "stop"))
    job.refresh_from_db()
    assert job.state == "stopped"


def test_too_many_orders_are_refused_with_a_message(admin_client, order_in, monkeypatch):
    from platform_core.jobs import queue

    monkeypatch.setattr(queue, "MOST_ROWS", 1)
    answer = act(admin_client, Order, "cancel", order_in("confirmed"), order_in("confirmed"))
    assert said(answer) == ["More than 1 rows are selected. Select fewer by a filter."]
    assert not Job.objects.exists()


def test_an_order_that_is_gone_is_refused(admin_client, order_in):
    orders = [order_in("confirmed") for _ in range(2)]
    act(admin_client, Order, "cancel", *orders)
    JobItem.objects.filter(key=orders[0].pk).update(key=404)
    job = confirmed(admin_client, Job.objects.get())
    assert job.items.get(state="refused").reason == "There is no such order."


def test_messages_of_a_job_carry_its_request_id(admin_client, order_in):
    act(admin_client, Order, "ship", order_in("confirmed"), order_in("confirmed"))
    job = Job.objects.get()
    admin_client.post(page_of(job, "confirm"), headers={"X-Request-ID": "confirmed-here"})
    work()
    assert set(OutboxMessage.objects.values_list("request_id", flat=True)) == {"confirmed-here"}


def test_jobs_are_listed_with_state_and_progress(admin_client, order_in):
    act(admin_client, Order, "ship", order_in("confirmed"), order_in("confirmed"))
    job = confirmed(admin_client, Job.objects.get())
    page = admin_client.get(url(Job, "changelist")).content.decode()
    assert "Mark as shipped" in page and "2 of 2" in page and job.by in page


def test_a_dead_workers_job_is_shown_as_running_until_another_takes_it(admin_client, order_in):
    from platform_core.jobs import queue

    act(admin_client, Order, "ship", order_in("confirmed"), order_in("confirmed"))
    job = Job.objects.get()
    admin_client.post(page_of(job, "confirm"))
    assert queue.claim() is not None
    work()
    assert "running" in text_of(admin_client, job)
    Job.objects.update(leased_until=queue.Now() - timedelta(seconds=1))
    work()
    JobItem.objects.filter(state="waiting").update(retry_at=None)
    Job.objects.update(available_at=queue.Now() - timedelta(seconds=1))
    work()
    job.refresh_from_db()
    assert (job.state, job.changed) == ("done", 2)
