"""The OpenAPI document of user-service has everything that its typed client needs."""

from platform_core.topology import USER
from tests.contracts import *  # noqa: F403

CALLEES = [USER]
