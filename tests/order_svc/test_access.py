"""The access rules hold for every route, method and kind of caller."""

from tests.access import *  # noqa: F403
from tests.access import _people, pytestmark  # noqa: F401  # a star takes no private names
