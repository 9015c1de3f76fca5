"""Background work of product-service."""

from platform_core.worker.housekeeping import HOUSEKEEPING

DUTIES = (HOUSEKEEPING,)
