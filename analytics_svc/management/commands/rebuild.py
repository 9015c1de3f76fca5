"""``manage.py analytics_svc rebuild``: rebuilds all figures and shows a progress bar."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from analytics_svc.catching_up import SOURCES
from analytics_svc.rebuilding import RebuildError, rebuild

LINE_EVERY = 5.0


class Bars:
    """Progress for a terminal: a bar for each service."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:21}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self.shown = Progress(*columns, TextColumn("{task.fields[detail]}"), console=console)
        self.tasks: dict[str, TaskID] = {
            name: self.shown.add_task(name, total=1.0, start=False, detail="") for name in SOURCES
        }

    def __call__(self, service: str, share: float, what: str, count: int) -> None:
        task = self.tasks[service]
        self.shown.start_task(task)
        self.shown.update(task, completed=share, detail=f"{count:,} {what}")


class Lines:
    """Progress without a terminal: a line from time to time, and one when a service is done."""

    def __init__(self, console: Console) -> None:
        self.console, self.last = console, time.monotonic()

    def __call__(self, service: str, share: float, what: str, count: int) -> None:
        if share >= 1 or time.monotonic() - self.last > LINE_EVERY:
            self.console.print(f"{service}: {share:.0%}, {count:,} {what}", highlight=False)
            self.last = time.monotonic()


class Command(BaseCommand):
    help = (
        "Rebuild all figures from the feeds, or from the services' lists if a feed is incomplete. In the meantime "
        "reports show the old figures and list all services as stale. After an interruption, run it again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(file=options.get("stdout"))
        try:
            if console.is_terminal:
                bars = Bars(console)
                with bars.shown:
                    rebuild(bars)
            else:
                rebuild(Lines(console))
        except RebuildError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted. The old figures are unchanged.") from None
        console.print("All figures are rebuilt.", highlight=False)
