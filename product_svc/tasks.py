"""Background work of product-service."""

from platform_core.jobs import run_jobs
from platform_core.worker import HOUSEKEEPING, Duty

DUTIES = (HOUSEKEEPING, Duty("jobs", run_jobs, pause=1.0))
