"""The suites. Without the packages they need, this says in one line how to get them, to pytest's users, too."""

import sys
from importlib.util import find_spec

_NEEDED = ("django", "environ", "psycopg", "pytest", "pytest_django", "hypothesis", "responses", "psutil")

if sys.version_info < (3, 11):  # noqa: UP036  # an older Python gets this far
    sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + ".")
_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    sys.exit(
        f"The tests need {', '.join(_missing)}, which this Python ({sys.executable}) does not have: run `make test`, "
        "or `.venv/bin/python -m pip install -r requirements-dev.txt` and then .venv/bin/python -m pytest."
    )
