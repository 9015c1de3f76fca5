"""Prints expected errors of `manage.py` in one line instead of a traceback."""

import errno
import sys
from collections.abc import Callable

import psycopg
from django.core.management.base import CommandError
from django.db.utils import Error as DjangoDatabaseError

from platform_core.auth.keys import KeysError
from platform_core.conf.environment import EXIT_CODE, ConfigurationError
from platform_core.stack import RestartError, RolesError, StackError, postgres
from platform_core.tools.generate import GenerateError
from platform_core.tools.new_service import NewServiceError
from platform_core.tools.verify import VerifyError

NOT_MIGRATED = "run `manage.py migrate` first, or `manage.py up`"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_OURS = (
    StackError,
    RestartError,
    postgres.PostgresError,
    RolesError,
    KeysError,
    VerifyError,
    GenerateError,
    NewServiceError,
    CommandError,
)


def in_one_line(run: Callable[[], int]) -> int:
    """Call ``run`` and return its exit code. Expected errors are printed in one line; others are raised."""
    try:
        return run()
    except ConfigurationError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        print(message, file=sys.stderr)
        return 1


def message_of(error: Exception) -> str | None:
    """The message for an error that a user can cause; None for any other error, which is a bug."""
    if isinstance(error, _OURS):
        return str(error)
    if isinstance(error, OSError):
        return _of_file(error)
    if isinstance(error, DjangoDatabaseError | psycopg.Error):
        return _of_database(error)
    return None


def _of_file(error: OSError) -> str | None:
    if error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return f"{error.strerror}." if error.errno in _NO_SPACE else None


def _of_database(error: Exception) -> str | None:
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    text = " ".join(str(error).split())
    if isinstance(
        cause, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn | psycopg.errors.InvalidSchemaName
    ):
        return f"The database is not migrated ({text.partition(' LINE ')[0]}): {NOT_MIGRATED}."
    return f"The database cannot be used: {text}" if isinstance(cause, psycopg.OperationalError) else None
