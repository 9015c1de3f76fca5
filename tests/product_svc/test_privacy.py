"""docs/privacy.md lists what this service holds of persons."""

from tests.privacy import *  # noqa: F403
