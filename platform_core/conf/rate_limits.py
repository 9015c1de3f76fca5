"""RATE_LIMITS: the budgets of callers, and how the variable is written."""

import re
from collections.abc import Mapping
from typing import Final

from platform_core.vocabulary import Role

READS, WRITES, MAILS = "reads", "writes", "mails"
KINDS: Final = (READS, WRITES, MAILS)
ANONYMOUS, CUSTOMER, STAFF, SERVICE = "anonymous", "customer", "staff", "service"
CALLERS: Final = (ANONYMOUS, CUSTOMER, STAFF, SERVICE, *(role.value for role in Role))
OFF: Final = "off"
MOST: Final = 1_000_000_000

Budgets = Mapping[tuple[str, str], int | None]
"""The most requests in a minute, by caller and kind: ``{("customer", "reads"): 1200}``. None: no limit."""

DEFAULTS: Budgets = {
    (ANONYMOUS, READS): 6000,
    (ANONYMOUS, WRITES): 240,
    (ANONYMOUS, MAILS): 30,
    (CUSTOMER, READS): 1200,
    (CUSTOMER, WRITES): 300,
    (CUSTOMER, MAILS): 60,
    (STAFF, READS): 6000,
    (STAFF, WRITES): 3000,
    (STAFF, MAILS): 1200,
}
"""Of production. Development has none, and services have none."""
_ENTRY = re.compile(r"([a-z]+)\.([a-z]+)=(off|[0-9]{1,10})", re.ASCII)
_EXPECTED = (
    f"`{OFF}`, or entries such as `customer.reads=600,staff.mails=off`: one of {', '.join(CALLERS)}, "
    f"then one of {', '.join(KINDS)}, then a number from 1 to {MOST} or `{OFF}`"
)


def parse(text: str) -> Budgets:
    """The budgets that the variable names. Raises ValueError."""
    if text.strip() == OFF:
        return {(caller, kind): None for caller in CALLERS for kind in KINDS}
    found: dict[tuple[str, str], int | None] = {}
    for entry in re.split(r"[\s,]+", text.strip()):
        match = _ENTRY.fullmatch(entry)
        if match is None or match[1] not in CALLERS or match[2] not in KINDS or (match[1], match[2]) in found:
            raise ValueError(_EXPECTED)
        most = None if match[3] == OFF else int(match[3])
        if most is not None and not 1 <= most <= MOST:
            raise ValueError(_EXPECTED)
        found[match[1], match[2]] = most
    return found


def budgets(given: Budgets, *, development: bool) -> Budgets:
    """The budgets that hold: those that were given, and in production the defaults of the others."""
    return {**({} if development else DEFAULTS), **given}


def shown_defaults() -> str:
    """The defaults as the variable writes them."""
    return ",".join(f"{caller}.{kind}={most}" for (caller, kind), most in DEFAULTS.items())
