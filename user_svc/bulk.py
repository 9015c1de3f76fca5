"""Deletes many accounts, as a job."""

from platform_core.http import Forbidden
from platform_core.jobs import Job, JobItem, Kind, each_item
from user_svc.models import User
from user_svc.services import delete_user

DELETE = "user.delete"
STAFF_TOO = "staff_too"
"""The parameter that says whether the job may delete accounts with roles."""


def delete(job: Job, user_id: int) -> bool:
    """Deletes one account. False if it is deleted already. Raises Forbidden for an account of the staff."""
    user = User.objects.select_for_update().filter(pk=user_id).first()
    if user is None:
        return False
    if user.roles and not job.parameters.get(STAFF_TOO):
        raise Forbidden("Only an admin may delete an account with roles.")
    delete_user(user_id, None)
    return True


def question(job: Job) -> str:
    """Says how many accounts will be deleted, and what goes with them."""
    rows = User.objects.filter(pk__in=JobItem.objects.filter(job=job).values("key"))
    refused = 0 if job.parameters.get(STAFF_TOO) else rows.exclude(roles=[]).count()
    deleted = (job.total or 0) - refused
    text = f"{deleted:,} accounts will be deleted with all personal data, at all services. This cannot be undone."
    return text if not refused else f"{text}\n{refused:,} with roles will be refused: only an admin may delete them."


KINDS = (Kind(DELETE, "Delete the accounts", "user_svc.delete_user", each_item(delete), question, row="account"),)
