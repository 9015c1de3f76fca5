"""System checks that run before a process starts. `manage.py SERVICE check` runs them with all others."""

import sys
from typing import Final

from django.core.management import BaseCommand, CommandError

from platform_core.conf.environment import EXIT_CODE

START: Final = "start"
"""The tag of checks for web and worker: ``register(check, START)``. The worker command requires it by its name."""
WEB: Final = "web"
"""The tag of checks for webs only. They may load the views, which a worker never needs."""


def exit_on_errors() -> None:
    """Run the checks in a web, because gunicorn starts without them. Prints all errors and exits if there are any."""
    try:
        BaseCommand().check(tags=[START, WEB])
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CODE)
