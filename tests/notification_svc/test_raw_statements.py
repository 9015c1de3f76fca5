"""What the raw statements of notification-service and of the library insert fits the models."""

from tests.raw_statements import *  # noqa: F403
