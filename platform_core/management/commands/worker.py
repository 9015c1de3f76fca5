"""``manage.py <service> worker``: the service's background duties, until SIGTERM or Ctrl-C."""

import os
import signal
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from platform_core.clients.peers import size_bulkhead
from platform_core.conf import parsed, production
from platform_core.conf.checks import START
from platform_core.observability import forget_the_dead, own_lifecycle, tracing
from platform_core.observability import metrics_endpoint as scraping
from platform_core.stack import warn_when_short
from platform_core.worker.duties import work


class Command(BaseCommand):
    """The worker of a service."""

    help = "Run the service's background duties until SIGTERM or Ctrl-C. Any number may run side by side."
    requires_system_checks = (START,)  # other checks load the views, a third of a worker's memory

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SERVICE.has_worker:
            raise CommandError(f"{settings.SERVICE.name} has no background duties.")
        production.check(settings)
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        forget_the_dead()
        if settings.WORKER_METRICS_PORT:
            scraping.serve(settings.BIND_HOST, settings.WORKER_METRICS_PORT)
        tracing.start(settings.SERVICE_NAME)
        duties = import_module(f"{settings.SERVICE.package}.tasks").DUTIES
        size_bulkhead(settings.OUTBOX_CONCURRENCY * len(duties))
        runner = threading.Thread(target=work, args=(duties, stopping))
        runner.start()
        if not os.environ.get(production.ANNOUNCED):  # `up` has looked itself
            warn_when_short(settings.SERVICE, parsed(os.environ))
        lifecycle = own_lifecycle()
        if lifecycle is not None:
            with suppress(OSError):
                lifecycle.note_ready()
        # The duties run in other threads, so that the main thread can handle signals.
        while runner.is_alive():
            runner.join(timeout=0.5)
        tracing.stop()
