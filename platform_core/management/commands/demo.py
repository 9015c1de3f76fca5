"""``manage.py <service> demo STEP SPEC``: runs one step of `manage.py demo` in a process of the service.

It reads batches from stdin and writes batches to stdout, each as a line of JSON.
"""

import os
import sys
from argparse import ArgumentParser
from importlib import import_module
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.timezone import now

from platform_core.events.log import Position
from platform_core.events.models import FeedConsumer
from platform_core.observability.logs import own_stdout
from platform_core.tools import Spec, Step, encoded, read_batches
from platform_core.topology import ANALYTICS

NOT_MIGRATED = "The database is not migrated: run `manage.py migrate` first, or `manage.py up`."


# Without it, retention could delete the demo's events, which are weeks old, before analytics-service has read them.
_HAS_READ_NOTHING = {**Position()._asdict(), "seen_at": now}


class Command(BaseCommand):
    """One step of the demo data."""

    help = "One step of `manage.py demo`; run that instead."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("step")
        parser.add_argument("spec", type=lambda text: msgspec.json.decode(text, type=Spec))

    def handle(self, *args: Any, step: str, spec: Spec, **options: Any) -> None:
        if settings.PLATFORM_ENV == "production":
            raise CommandError("Demo data is not for production.")
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise CommandError(NOT_MIGRATED)
        FeedConsumer.objects.get_or_create(name=ANALYTICS.name, defaults=_HAS_READ_NOTHING)
        steps: dict[str, Step] = import_module(f"{settings.SERVICE.package}.demo").STEPS
        with own_stdout() as out:
            try:
                for batch in steps[step](spec, read_batches(sys.stdin.buffer)):
                    out.write(encoded(batch) + b"\n")
                    out.flush()
            except BrokenPipeError:  # the next step has failed, and reports the reason
                os._exit(1)
            except DatabaseError as error:
                raise CommandError(" ".join(str(error).split())) from error
