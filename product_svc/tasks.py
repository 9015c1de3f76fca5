"""Background work of product-service."""

from platform_core.worker import HOUSEKEEPING

DUTIES = (HOUSEKEEPING,)
