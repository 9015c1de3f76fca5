"""System checks that web and worker pass before they start. `manage.py SERVICE check` runs them with all others.

The other checks import every view and URL, which a worker never needs.
"""

import sys
from typing import Final

from django.core.management import BaseCommand, CommandError

from platform_core.conf.environment import EXIT_CODE

START: Final = "start"
"""The tag of these checks: ``register(check, START)``. The worker command requires it by its name."""


def exit_on_errors() -> None:
    """For the web, which gunicorn starts without any system check. Every error is printed."""
    try:
        BaseCommand().check(tags=[START])
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CODE)
