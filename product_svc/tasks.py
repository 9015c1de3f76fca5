"""Background work of product-service."""

from platform_core.housekeeping import HOUSEKEEPING

DUTIES = (HOUSEKEEPING,)
