"""Jobs: each row is done once, by one worker at a time, whatever happens in between."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from platform_core.http.errors import Conflict, TooLarge, Unavailable
from platform_core.jobs import kinds, queue, retention, running
from platform_core.jobs.items import each_item, log_change
from platform_core.jobs.kinds import Kind, register
from platform_core.jobs.models import Job, JobChunk, JobItem
from platform_core.jobs.running import run_jobs
from platform_core.worker.housekeeping import HOUSEKEEPING
from tests.platform_core.notes.models import Note

pytestmark = pytest.mark.django_db(transaction=True)
STOPPING = threading.Event()


@pytest.fixture
def boss():
    return User.objects.create_superuser("boss")


@pytest.fixture
def notes():
    return [Note.objects.create(name=f"n{n}", label=f"l{n}") for n in range(6)]


@pytest.fixture
def kind(monkeypatch):
    """Registers a kind for the test; its rows get the text "done", unless ``process`` is given."""
    monkeypatch.setattr(kinds, "_kinds", {})

    def make(process=None, **values):
        made = Kind(
            name="note.finish",
            title="Finish the notes",
            permission="notes.change_note",
            run=each_item(process or finish_note),
            **values,
        )
        register(made)
        return made

    return make


def finish_note(job, key):
    log_change(job, Note.objects.get(pk=key), "Finished.")
    return bool(Note.objects.filter(pk=key).exclude(text="done").update(text=Note.objects.get(pk=key).text + "done"))


def drafted(kind, boss, **filters):
    return queue.draft(kind, boss, Note.objects.filter(**filters))


def started(kind, boss, **filters):
    job = drafted(kind, boss, **filters)
    assert queue.confirm(job)
    return job


def run_all(rounds=100):
    """Runs jobs until none is due."""
    while rounds and run_jobs(STOPPING):
        rounds -= 1
    assert rounds, "jobs never end"


def hurry():
    """Lets all delays pass, by Postgres' clock."""
    Job.objects.update(available_at=queue.Now() - timedelta(hours=1))
    JobItem.objects.filter(retry_at__isnull=False).update(retry_at=queue.Now() - timedelta(seconds=1))


def texts():
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


def counts(job):
    job.refresh_from_db()
    return job.state, job.total, job.done, job.changed, job.unchanged, job.refused


@contextmanager
def another_connection():
    """Runs the block's function in a thread with a connection of its own."""
    found = []

    def run(function):
        def work():
            try:
                found.append(function())
            finally:
                connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=30)
        assert not thread.is_alive()
        return found[-1]

    yield run


def test_every_selected_row_is_changed_once_and_counted(kind, boss, notes):
    Note.objects.filter(pk=notes[1].pk).update(text="done")
    job = started(kind(), boss, pk__in=[note.pk for note in notes[:4]])
    run_all()
    assert texts() == ["done"] * 4 + [""] * 2
    assert counts(job) == ("done", 4, 4, 3, 1, 0)
    assert job.by == "local:boss" and job.finished_at >= job.started_at >= job.created_at
    assert LogEntry.objects.filter(user=boss, change_message=f"Finished. (job {job.pk})").count() == 4


def test_a_draft_waits_for_its_confirmation_and_can_be_discarded(kind, boss, notes):
    job = drafted(kind(), boss)
    run_all()
    assert texts() == [""] * 6
    assert queue.discard(job) and not Job.objects.exists() and not JobItem.objects.exists()
    assert not queue.confirm(job) and not queue.discard(job)


def test_a_job_is_confirmed_once_and_cannot_be_discarded_then(kind, boss, notes):
    job = drafted(kind(), boss)
    assert queue.confirm(job) and not queue.confirm(job) and not queue.discard(job)
    run_all()
    assert not queue.confirm(job)
    run_all()
    assert texts() == ["done"] * 6


def test_rows_that_are_added_after_the_question_are_not_touched(kind, boss, notes):
    job = drafted(kind(), boss, text="")
    late = Note.objects.create(name="late", label="late")
    queue.confirm(job)
    run_all()
    late.refresh_from_db()
    assert late.text == "" and texts().count("done") == 6


def test_a_refused_row_has_its_reason_and_stops_no_other(kind, boss, notes):
    def process(job, key):
        if key == notes[2].pk:
            Note.objects.filter(pk=key).update(text="half")
            raise Conflict("It is too late for this one.")
        return finish_note(job, key)

    job = started(kind(process), boss)
    run_all()
    assert texts() == ["done", "done", "", "done", "done", "done"]
    assert counts(job) == ("done", 6, 6, 5, 0, 1)
    assert job.items.get(state="refused").reason == "It is too late for this one."


@pytest.mark.parametrize("error", [RuntimeError("odd"), Unavailable("later")])
def test_a_row_that_crashes_is_tried_again_while_the_others_go_on(kind, boss, notes, error):
    failures = [error] * 2

    def process(job, key):
        Note.objects.filter(pk=key).update(name="touched")
        if key == notes[0].pk and failures:
            raise failures.pop()
        return finish_note(job, key)

    job = started(kind(process), boss)
    run_all()
    assert texts() == ["", *["done"] * 5] and counts(job)[:3] == ("running", 6, 5)
    assert Note.objects.get(pk=notes[0].pk).name == "n0"
    assert (job.lease, job.leased_until) == (None, None)
    for _ in range(2):
        hurry()
        run_all()
    assert counts(job) == ("done", 6, 6, 6, 0, 0)


def test_a_row_that_always_crashes_is_given_up_with_its_reason(kind, boss, notes):
    def process(job, key):
        if key == notes[0].pk:
            raise RuntimeError("odd")
        return finish_note(job, key)

    job = started(kind(process), boss)
    for _ in range(queue.MAX_ATTEMPTS):
        run_all()
        hurry()
    assert counts(job) == ("done", 6, 6, 5, 0, 1)
    item = job.items.get(state="refused")
    assert (item.reason, item.attempts) == ("RuntimeError: odd", queue.MAX_ATTEMPTS)


class Killed(BaseException):
    """As SIGKILL: nothing after it runs."""


def test_a_crash_in_the_middle_loses_no_row_and_does_none_twice(kind, boss, notes):
    deadly = [notes[3].pk]

    def process(job, key):
        changed = finish_note(job, key)
        if key in deadly:
            deadly.clear()
            raise Killed
        return changed

    job = started(kind(process), boss)
    with pytest.raises(Killed):
        run_jobs(STOPPING)
    assert texts() == ["done"] * 3 + [""] * 3 and counts(job)[:3] == ("running", 6, 3)
    assert not run_jobs(STOPPING), "the lease of the dead worker holds"
    Job.objects.update(leased_until=queue.Now() - timedelta(seconds=1))
    run_all()
    hurry()
    run_all()
    assert texts() == ["done"] * 6 and counts(job) == ("done", 6, 6, 6, 0, 0)


def test_a_row_that_kills_its_worker_is_given_up_in_the_end(kind, boss, notes):
    def process(job, key):
        if key == notes[0].pk:
            raise Killed
        return finish_note(job, key)

    job = started(kind(process), boss)
    for _ in range(queue.MAX_ATTEMPTS):
        with pytest.raises(Killed):
            run_all()
        Job.objects.update(leased_until=queue.Now() - timedelta(seconds=1))
        hurry()
        run_jobs(STOPPING)
        hurry()
        if job.items.filter(state="refused").exists():
            break
    run_all()
    assert counts(job) == ("done", 6, 6, 5, 0, 1)
    assert "worker ended" in job.items.get(state="refused").reason


def test_two_workers_never_run_one_job_together(kind, boss, notes):
    job = started(kind(), boss)
    mine = queue.claim()
    assert mine is not None and mine.pk == job.pk
    with another_connection() as elsewhere:
        assert elsewhere(queue.claim) is None


def test_a_claim_does_not_wait_for_a_job_that_another_worker_is_claiming(kind, boss, notes):
    made = kind()
    first, second = started(made, boss, pk=notes[0].pk), started(made, boss, pk=notes[1].pk)
    with transaction.atomic(), another_connection() as elsewhere:
        Job.objects.select_for_update().get(pk=first.pk)
        assert elsewhere(queue.claim).pk == second.pk


def test_many_workers_do_each_row_once(kind, boss, monkeypatch):
    monkeypatch.setattr(running, "SLICE_SECONDS", 0.02)
    Note.objects.bulk_create(Note(name="n", label=f"l{n}") for n in range(120))
    made = kind()
    jobs = [started(made, boss, pk__in=list(Note.objects.values_list("pk", flat=True)[n::3])) for n in range(3)]

    def work():
        try:
            for _ in range(400):
                run_jobs(STOPPING)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert texts() == ["done"] * 120
    assert [counts(job) for job in jobs] == [("done", 40, 40, 40, 0, 0)] * 3


def test_a_worker_that_lost_its_lease_changes_nothing_more(kind, boss, notes):
    def process(job, key):
        Job.objects.filter(pk=job.pk).update(lease="00000000-0000-0000-0000-000000000001")  # another one took it
        return finish_note(job, key)

    job = started(kind(process), boss)
    assert run_jobs(STOPPING)
    assert texts() == [""] * 6 and counts(job)[:3] == ("running", 6, 0)


def test_a_job_is_stopped_after_the_present_row(kind, boss, notes):
    def process(job, key):
        if key == notes[2].pk:
            with another_connection() as elsewhere:
                assert elsewhere(lambda: queue.stop(job))
        return finish_note(job, key)

    job = started(kind(process), boss)
    run_all()
    assert texts() == ["done"] * 2 + [""] * 4, "the row during which it was stopped is rolled back"
    assert counts(job) == ("stopped", 6, 2, 2, 0, 0)
    assert job.finished_at is not None and not queue.stop(job)
    hurry()
    run_all()
    assert texts().count("done") == 2


def test_a_job_that_has_not_begun_is_stopped_at_once(kind, boss, notes):
    job = started(kind(), boss)
    assert queue.stop(job)
    assert counts(job)[:3] == ("stopped", 6, 0) and job.finished_at is not None


def test_a_job_between_two_slices_is_stopped(kind, boss, notes):
    job = started(kind(), boss)
    queue.give_back(queue.claim())
    assert queue.stop(job) and counts(job)[0] == "stopping"
    run_all()
    assert counts(job)[:3] == ("stopped", 6, 0) and texts() == [""] * 6


def test_jobs_take_turns(kind, boss, notes, monkeypatch):
    monkeypatch.setattr(running, "SLICE_SECONDS", 0.0)
    served = []

    def process(job, key):
        served.append(job.pk)
        return finish_note(job, key)

    made = kind(process)
    monkeypatch.setattr(running.Run, "check_turn", _one_row_each())
    first, second = (started(made, boss, pk__in=[note.pk for note in some]) for some in (notes[:3], notes[3:]))
    run_all()
    assert served == [first.pk, second.pk] * 3


def _one_row_each():
    """A slice of exactly one row, so that the test does not depend on the time."""

    def check_turn(run):
        if hasattr(run, "had_its_row"):
            raise running.Yielded
        run.had_its_row = True

    return check_turn


def test_a_worker_that_is_about_to_end_gives_its_job_back(kind, boss, notes):
    job, stopping = None, threading.Event()

    def process(job, key):
        stopping.set()
        return finish_note(job, key)

    job = started(kind(process), boss)
    run_jobs(stopping)
    assert counts(job)[:3] == ("running", 6, 1) and job.lease is None and job.attempts == 0
    run_all()
    assert counts(job)[0] == "done"


def test_a_job_of_another_kind_of_work_is_retried_and_then_failed(kind, boss, monkeypatch):
    monkeypatch.setattr(kinds, "_kinds", {})
    runs = []

    def run(run):
        runs.append(run.job.attempts)
        raise RuntimeError("no disk")

    whole = Kind(name="whole", title="Whole", permission="notes.change_note", run=run)
    register(whole)
    job = queue.create(whole, boss)
    JobChunk.objects.create(job=job, part="upload", number=0, data=b"x")
    for _ in range(queue.MAX_ATTEMPTS + 2):
        run_all()
        hurry()
    assert runs == list(range(queue.MAX_ATTEMPTS))
    assert counts(job)[0] == "failed" and job.error == "RuntimeError: no disk"
    assert not JobChunk.objects.exists(), "the upload is erased"


def test_a_job_whose_workers_die_again_and_again_is_failed(boss, monkeypatch):
    monkeypatch.setattr(kinds, "_kinds", {})

    def run(run):
        raise Killed

    whole = Kind(name="whole", title="Whole", permission="notes.change_note", run=run)
    register(whole)
    job = queue.create(whole, boss)
    for _ in range(queue.MAX_ATTEMPTS):
        with pytest.raises(Killed):
            run_jobs(STOPPING)
        Job.objects.update(leased_until=queue.Now() - timedelta(seconds=1))
    run_all()
    assert counts(job)[0] == "failed" and "worker ended" in job.error


def test_a_kind_that_this_version_does_not_have_waits(kind, boss, notes, monkeypatch):
    job = started(kind(), boss)
    monkeypatch.setattr(kinds, "_kinds", {})
    assert not run_jobs(STOPPING)
    assert counts(job)[0] == "waiting"


def test_two_kinds_with_one_name_are_refused(kind):
    made = kind()
    register(made)
    with pytest.raises(ValueError, match=r"note\.finish"):
        register(Kind(name="note.finish", title="", permission="", run=made.run))


def test_a_selection_and_the_number_of_jobs_are_bounded(kind, boss, notes, monkeypatch):
    made = kind()
    monkeypatch.setattr(queue, "MOST_ROWS", 5)
    with pytest.raises(TooLarge, match="5 rows"):
        drafted(made, boss)
    assert not Job.objects.exists()
    monkeypatch.setattr(queue, "MOST_WAITING", 2)
    for note in notes[:2]:
        started(made, boss, pk=note.pk)
    with pytest.raises(Conflict, match="2 unfinished jobs"):
        drafted(made, boss, pk=notes[2].pk)


@pytest.mark.parametrize(
    "wrong", [{"done": 7}, {"refused": 1}, {"state": "odd"}, {"state": "done"}, {"finished_at": queue.Now()}]
)
def test_impossible_jobs_are_refused_by_the_database(kind, boss, notes, wrong):
    job = drafted(kind(), boss)
    with pytest.raises(IntegrityError):
        Job.objects.filter(pk=job.pk).update(**wrong)


def aged(column, age):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE jobs_job SET {column} = clock_timestamp() - %s WHERE {column} IS NOT NULL", [age])


def test_old_jobs_drafts_and_files_are_deleted(kind, boss, notes, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 4)
    made = kind()
    old, waiting, draft = started(made, boss), started(made, boss), None
    queue.finish(queue.claim(), "done")
    draft = drafted(made, boss)
    for job in (old, waiting, draft):
        JobChunk.objects.create(job=job, part="result", number=0, data=b"x")
    aged("finished_at", timedelta(hours=23))
    aged("created_at", timedelta(hours=23))
    HOUSEKEEPING.run(STOPPING)
    assert (Job.objects.count(), JobChunk.objects.count()) == (3, 3)
    aged("finished_at", timedelta(hours=25))
    aged("created_at", timedelta(hours=25))
    while HOUSEKEEPING.run(STOPPING):
        pass
    assert set(Job.objects.values_list("pk", flat=True)) == {old.pk, waiting.pk}, "nobody confirmed the draft"
    assert list(JobChunk.objects.values_list("job", flat=True)) == [waiting.pk]
    aged("finished_at", timedelta(days=31))
    aged("created_at", timedelta(days=365))
    while HOUSEKEEPING.run(STOPPING):
        pass
    assert list(Job.objects.values_list("pk", flat=True)) == [waiting.pk]
    assert set(JobItem.objects.values_list("job", flat=True)) == {waiting.pk}
