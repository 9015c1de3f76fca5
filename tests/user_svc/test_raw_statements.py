"""What the raw statements of user-service and of the library insert fits the models."""

from tests.raw_statements import *  # noqa: F403
