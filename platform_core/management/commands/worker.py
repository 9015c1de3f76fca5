"""``manage.py <service> worker``: the service's background duties, until SIGTERM or Ctrl-C."""

import signal
import threading
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from platform_core.clients.peers import size_bulkhead
from platform_core.conf import production
from platform_core.conf.checks import START
from platform_core.observability import metrics, tracing
from platform_core.observability import metrics_endpoint as scraping
from platform_core.worker.duties import work


class Command(BaseCommand):
    help = "Run the service's background duties until SIGTERM or Ctrl-C. Any number may run side by side."
    requires_system_checks = (START,)  # all would load the views, which a worker never needs: a third of its memory

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SERVICE.has_worker:
            raise CommandError(f"{settings.SERVICE.name} has no background duties.")
        production.check(settings)
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        metrics.forget_the_dead()
        if settings.WORKER_METRICS_PORT:
            scraping.serve(settings.BIND_HOST, settings.WORKER_METRICS_PORT)
        tracing.start(settings.SERVICE_NAME)
        duties = import_module(f"{settings.SERVICE.package}.tasks").DUTIES
        size_bulkhead(settings.OUTBOX_CONCURRENCY * len(duties))
        runner = threading.Thread(target=work, args=(duties, stopping))
        runner.start()
        # The main thread stays free to take signals.
        while runner.is_alive():
            runner.join(timeout=0.5)
        tracing.stop()
