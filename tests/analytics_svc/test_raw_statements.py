"""The raw INSERT statements of analytics-service and the library match the models."""

from tests.raw_statements import *  # noqa: F403
