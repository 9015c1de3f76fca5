#!/usr/bin/env python3
"""The one entry: `manage.py up`, `manage.py order_svc migrate`; DJANGO_SETTINGS_MODULE can stand for the service."""

import os
import sys


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  # this is what tells
        print(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    try:
        import django  # noqa: F401
    except ImportError:
        print("Django is not installed here: run `make dev`, or use .venv/bin/python.", file=sys.stderr)
        return 1

    from platform_core.tools import commands
    from platform_core.topology import BY_PACKAGE

    if arguments and arguments[0] in BY_PACKAGE:
        service = BY_PACKAGE[arguments.pop(0)]
    else:
        service = BY_PACKAGE.get(os.environ.get("DJANGO_SETTINGS_MODULE", "").removesuffix(".settings"))  # type: ignore[assignment]
    if service is None:
        return commands.main(arguments or ["--help"])

    def run() -> int:
        from django.core.management import execute_from_command_line

        commands.prepare_service(service, arguments)
        execute_from_command_line([sys.argv[0], *arguments])
        return 0

    return commands.reported_in_one_line(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
