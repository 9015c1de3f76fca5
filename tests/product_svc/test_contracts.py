"""Who calls product-service finds what it asks for and reads what it is answered."""

from platform_core.topology import PRODUCT
from tests.contracts import *  # noqa: F403

CALLEES = [PRODUCT]
