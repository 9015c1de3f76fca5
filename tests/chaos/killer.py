"""Injects one fault after the other, chosen by a seed."""

import contextlib
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg

from platform_core.topology import SERVICES
from tests.e2e.freezing import frozen, postgres_processes, without_standby
from tests.e2e.proxy import Faults, ProxiedStack
from tests.mail_servers import MailServer

LARGEST_FILE = 4096
MOST_SKEW = 100.0
"""Seconds. The services accept tokens of a peer whose clock is two minutes off."""


def limit_file_size(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.Error):
        process.rlimit(resource.RLIMIT_FSIZE, (number, resource.RLIM_INFINITY))


class Killer(threading.Thread):
    """Kills, stops and continues processes, restarts Postgres, and disturbs the traffic between services.

    ``clock``: the file that says how far the clocks of new processes are off.
    """

    def __init__(
        self, stack: ProxiedStack, clock: Path, faults: Faults, mail: MailServer, seed: int, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.clock = clock
        self.stack, self.faults, self.mail, self.stop_event = stack, faults, mail, stop
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        deeds: list[Callable[[], None]] = [
            *[self.kill_a_web_worker] * 4,
            *[self.kill_a_background_worker] * 4,
            *[self.kill_a_master] * 2,
            *[self.stop_and_continue] * 3,
            *[self.spoil_answers] * 4,
            self.restart_postgres,
            *[self.freeze_postgres] * 2,
            self.lose_the_standby,
            *[self.freeze_a_service] * 2,
            *[self.slow_the_mail_server] * 2,
            *[self.defer_mails] * 2,
            *[self.black_hole_an_address] * 2,
            self.fill_the_disk,
            *[self.start_with_a_wrong_clock] * 2,
        ]
        while not self.stop_event.wait(self.random.uniform(0.3, 1.5)):
            with contextlib.suppress(psutil.Error, psycopg.Error, IndexError, OSError):
                deed = self.random.choice(deeds)
                deed()
                self.done[deed.__name__.replace("_", " ")] += 1
        self.faults.clear()
        self.mail.delays = {}
        self.mail.replies = {}

    def kill_a_web_worker(self) -> None:
        self.random.choice(self.stack.webs(self.random.choice(SERVICES))[1:]).kill()

    def kill_a_background_worker(self) -> None:
        self.random.choice(self.stack.workers()).kill()

    def kill_a_master(self) -> None:
        self.stack.webs(self.random.choice(SERVICES))[0].kill()

    def stop_and_continue(self) -> None:
        victims = self.random.choice([self.stack.webs(self.random.choice(SERVICES))[1:], self.stack.workers()])
        victim = self.random.choice(victims)
        victim.send_signal(signal.SIGSTOP)
        try:
            time.sleep(self.random.uniform(0.2, 3))
        finally:
            victim.send_signal(signal.SIGCONT)

    def freeze_a_service(self) -> None:
        """All processes of a service's web are stopped: connections are taken, and nothing is answered."""
        with frozen(self.stack.webs(self.random.choice(SERVICES))):
            time.sleep(self.random.uniform(1, 8))

    def freeze_postgres(self) -> None:
        with frozen(postgres_processes(self.stack)):
            time.sleep(self.random.uniform(1, 8))

    def lose_the_standby(self) -> None:
        with without_standby(self.stack):
            time.sleep(self.random.uniform(1, 8))

    def black_hole_an_address(self) -> None:
        """Peers cannot connect to a service: nothing answers at its address, not even with a refusal."""
        with self.stack.proxies[self.random.choice(SERVICES)].black_holed():
            time.sleep(self.random.uniform(1, 8))

    def fill_the_disk(self) -> None:
        """No file of any process can grow. Postgres panics when it needs to, and the supervisor restarts it."""
        try:
            self._limit_file_sizes(LARGEST_FILE)
            time.sleep(self.random.uniform(1, 4))
        finally:
            self._limit_file_sizes(resource.RLIM_INFINITY)

    def _limit_file_sizes(self, number: int) -> None:
        """Let writes fail beyond this size of a file, in all processes of the platform."""
        with contextlib.suppress(OSError):  # Postgres may be starting
            for process in postgres_processes(self.stack):
                limit_file_size(process, number)
        for process in self.stack.processes():
            limit_file_size(process, number)

    def start_with_a_wrong_clock(self) -> None:
        """A process that is started later, because it was killed, has a clock that is off (see `tests/chaos/clock`)."""
        self.clock.write_text(str(self.random.uniform(-MOST_SKEW, MOST_SKEW)))
        self.random.choice([self.kill_a_background_worker, self.kill_a_web_worker, self.kill_a_master])()

    def slow_the_mail_server(self) -> None:
        """From now on, until it is chosen again, which may make it fast."""
        seconds = self.random.choice([0.0, 0.2, 2.0])
        self.mail.delays = {"*": seconds, ".": seconds * 2}

    def defer_mails(self) -> None:
        share = self.random.choice([0.0, 0.3, 1.0])
        chance = random.Random(self.random.random())
        self.mail.replies = {"RCPT": lambda line: "451 4.7.1 Come back later" if chance.random() < share else None}

    def spoil_answers(self) -> None:
        self.faults.drop = self.random.choice([0.0, 0.1, 0.5])
        self.faults.delay = self.random.choice([0.0, 0.2])
        self.faults.longest = self.random.choice([0.5, 6.0])

    def restart_postgres(self) -> None:
        """Shuts Postgres down immediately, as in a crash. The supervisor restarts it."""
        postgres_processes(self.stack)[0].send_signal(signal.SIGQUIT)
