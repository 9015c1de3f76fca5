"""Who calls notification-service finds what it asks for and reads what it is answered."""

from platform_core.topology import NOTIFICATION
from tests.contracts import *  # noqa: F403

CALLEES = [NOTIFICATION]
