#!/usr/bin/env python3
"""The entry point: `manage.py up`, `manage.py order_svc migrate`. DJANGO_SETTINGS_MODULE may name the service instead.

An old Python must be able to parse this file (3.6 does), so that it can say which version is needed.
"""

import os
import sys


def main(arguments: "list[str]") -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  # an older Python gets this far
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
    return commands.run_for_service(service, arguments)


def keep_interrupts() -> None:
    """Deliver Ctrl-C again if Python drops it, which happens if it arrives within the callback of a weak reference."""
    import signal  # here, because Ctrl-C during an import at the top of this file would print a traceback
    import threading

    def deliver_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            main_thread = threading.main_thread().ident or 0
            again = threading.Timer(0.01, signal.pthread_kill, (main_thread, signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = deliver_again


if __name__ == "__main__":
    try:
        keep_interrupts()
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:  # so Python 3.11 wraps whatever happens while a class is made, during an import
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(130)
