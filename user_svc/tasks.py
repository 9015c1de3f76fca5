"""Background work of user-service."""

from platform_core.housekeeping import HOUSEKEEPING

DUTIES = (HOUSEKEEPING,)
