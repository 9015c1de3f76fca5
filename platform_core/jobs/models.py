"""Jobs, the rows that they work through, and the files that belong to them."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now


class Job(models.Model):
    """Work that a worker does for a member of staff. ``kind`` names its `Kind`.

    ``done`` counts what is finished; ``changed`` and ``refused`` are parts of it, and the rest needed no change.
    ``total`` is None while it is unknown. Times are those of Postgres' clock.
    """

    class State(models.TextChoices):
        """`draft`: asked, and not confirmed yet. `stopping`: a worker ends it after the row that it is working on."""

        DRAFT = "draft"
        WAITING = "waiting"
        RUNNING = "running"
        STOPPING = "stopping"
        STOPPED = "stopped"
        DONE = "done"
        FAILED = "failed"

    UNFINISHED = (State.WAITING, State.RUNNING, State.STOPPING)
    FINISHED = (State.STOPPED, State.DONE, State.FAILED)
    lease_expired = False
    """Set by a claim: the worker before has ended without giving the job back."""

    kind = models.CharField(max_length=64)
    question = models.TextField(blank=True, default="", help_text="What was asked before it began.")
    parameters = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    by = models.CharField(max_length=200, help_text="The identity of who started it, such as user:7.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    total = models.BigIntegerField(null=True, blank=True)
    done = models.BigIntegerField(default=0)
    changed = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)
    result = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True, default="", help_text="Why it failed, or why it is tried again.")
    attempts = models.PositiveIntegerField(default=0, help_text="Interrupted or failed runs since its last progress.")
    available_at = models.DateTimeField(default=now)
    lease = models.UUIDField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    request_id = models.CharField(max_length=128)
    traceparent = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(
                fields=("available_at",),
                name="job_unfinished",
                condition=Q(state__in=["waiting", "running", "stopping"]),
            ),
            models.Index(fields=("created_at",), name="job_drafts", condition=Q(state="draft")),
            models.Index(fields=("finished_at",), name="job_finished", condition=Q(finished_at__isnull=False)),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=["draft", "waiting", "running", "stopping", "stopped", "done", "failed"]),
                name="job_state_known",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["stopped", "done", "failed"], finished_at__isnull=False)
                | Q(state__in=["draft", "waiting", "running", "stopping"], finished_at=None),
                name="job_finished_has_time",
            ),
            models.CheckConstraint(
                condition=Q(changed__gte=0, refused__gte=0, done__gte=F("changed") + F("refused")),
                name="job_counts_add_up",
            ),
            models.CheckConstraint(condition=Q(total=None) | Q(done__lte=F("total")), name="job_done_within_total"),
        )

    def __str__(self) -> str:
        return f"job {self.pk}"

    @property
    def is_finished(self) -> bool:
        """Whether nothing will happen any more."""
        return self.state in self.FINISHED

    @property
    def unchanged(self) -> int:
        """How many rows were done and needed no change."""
        return self.done - self.changed - self.refused


class JobItem(models.Model):
    """One row that a job works on. ``key`` is its primary key.

    It is settled in the transaction that changes the row, so each row is done once.
    """

    class State(models.TextChoices):
        """`unchanged`: the row was already as it should be. `refused`: ``reason`` says why."""

        WAITING = "waiting"
        CHANGED = "changed"
        UNCHANGED = "unchanged"
        REFUSED = "refused"

    job = models.ForeignKey(Job, models.CASCADE, related_name="items")
    key = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, default="")

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("job", "key"), name="job_item_once"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "changed", "unchanged", "refused"]), name="job_item_state_known"
            ),
        )
        indexes = (
            models.Index(fields=("job", "id"), name="job_item_waiting", condition=Q(state="waiting")),
            models.Index(fields=("job", "id"), name="job_item_refused", condition=Q(state="refused")),
        )

    def __str__(self) -> str:
        return f"{self.key} of job {self.job_id}"


class JobChunk(models.Model):
    """A piece of a file that belongs to a job. ``part`` names the file; the pieces are numbered from 0."""

    class Part(models.TextChoices):
        """`upload` is erased when its job has finished, the others some time later (`retention`)."""

        UPLOAD = "upload"
        REJECTS = "rejects"
        RESULT = "result"

    job = models.ForeignKey(Job, models.CASCADE, related_name="chunks")
    part = models.CharField(max_length=16, choices=Part.choices)
    number = models.IntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ("job", "part", "number")
        constraints = (models.UniqueConstraint(fields=("job", "part", "number"), name="job_chunk_once"),)

    def __str__(self) -> str:
        return f"{self.part} {self.number} of job {self.job_id}"
