"""The media types that callers accept."""

from tests.acceptance import *  # noqa: F403
