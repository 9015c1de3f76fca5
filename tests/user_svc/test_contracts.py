"""Who calls user-service finds what it asks for and reads what it is answered."""

from platform_core.topology import USER
from tests.contracts import *  # noqa: F403

CALLEES = [USER]
