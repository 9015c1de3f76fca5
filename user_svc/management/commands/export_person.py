"""``manage.py user_svc export_person EMAIL``: writes all that the services hold of a person, as JSON."""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from platform_core.api import encode
from platform_core.clients import PeerError, person_rows
from platform_core.privacy import rows_of
from platform_core.topology import SERVICES, USER
from user_svc import services
from user_svc.models import User

Tables = dict[str, list[dict[str, Any]]]


class Command(BaseCommand):
    help = (
        "Write all that the services hold of a person: the rows of each service, by table. Hashes of passwords and "
        "tokens are left out. Fails if a service does not answer: an incomplete file would look complete."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("email")
        parser.add_argument("--output", metavar="FILE", help="instead of standard output; only its owner may read it")

    def handle(self, *args: Any, email: str, output: str | None, **options: Any) -> None:
        user = services.with_email(User.objects.all(), email).first()
        if user is None:
            raise CommandError(f"There is no user with the address {email!r}.")
        try:
            found = {service.name: _tables(service.name, user.pk) for service in SERVICES}
        except PeerError as error:
            raise CommandError(f"{error.peer} does not say what it holds: {error.detail}") from None
        content = {"userId": str(user.pk), "asOf": now(), "services": found}
        text = msgspec.json.format(encode(content), indent=2).decode() + "\n"
        if output is None:
            sys.stdout.write(text)
            return
        path = Path(output)
        path.touch(mode=0o600)
        path.write_text(text)


def _tables(service: str, user_id: int) -> Tables:
    rows = rows_of(user_id) if service == USER.name else person_rows(service, user_id)
    tables: Tables = defaultdict(list)
    for each in rows:
        tables[each.table].append(each.row)
    return tables
