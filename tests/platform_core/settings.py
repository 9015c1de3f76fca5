"""The settings of order-service, which uses all of the library, and beside its orders a resource of the tests' own."""

from order_svc.settings import *  # noqa: F403
from order_svc.settings import INSTALLED_APPS  # type: ignore[attr-defined]

INSTALLED_APPS = [*INSTALLED_APPS, "tests.platform_core.notes"]
ROOT_URLCONF = "tests.platform_core.notes.urls"
ACCESS_RULES = "tests.platform_core.notes.access"
