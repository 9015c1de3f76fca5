"""Load from many clients while processes are killed. Afterwards the promises hold and all responses were true."""

import re
import threading
import time
from collections import Counter

from platform_core.stack.supervisor import health_of
from platform_core.topology import SERVICES
from tests.chaos.killer import Killer
from tests.chaos.load import Promised, check_promises, customers
from tests.e2e.proxy import Faults
from tests.e2e.stack import eventually
from tests.mail_servers import MailServer

SUBJECT = re.compile(r"^Subject: Order ([0-9]+) is confirmed", re.M)
AT_ONCE = 4
"""Mails that a worker sends at once."""
LONGEST_PAUSE = 300.0
"""Seconds: `max_delay` of an outbox handler."""


def test_neither_kills_nor_slowness_break_a_promise(stack, clock, faults, mail, seed, request, capsys):
    promised, over = Promised(), threading.Event()
    clients = customers(stack, promised, seed, over)
    killer = Killer(stack, clock, faults, mail, seed, over)
    for thread in (*clients, killer):
        thread.start()
    time.sleep(request.config.getoption("--minutes") * 60)
    over.set()
    for thread in (*clients, killer):
        thread.join(120)
        assert not thread.is_alive()
    faults.clear()
    for service in SERVICES:
        eventually(f"{service.name} is well", lambda s=service: health_of(stack.direct(s, ""), "/health")[0] == 200, 90)

    verified = stack.run("verify", "--wait", "90", timeout=400)
    with capsys.disabled():
        tell(seed, promised, killer, faults)
    assert verified.returncode == 0, f"seed {seed}\n{verified.stdout}{verified.stderr}\n{stack.said()[-4000:]}"
    unhandled = [line for line in stack.said().splitlines() if '"event":"unhandled"' in line]
    assert unhandled == []
    check_promises(stack, promised)
    check_mails(promised, mail, killer)


def check_mails(promised: Promised, mail: MailServer, killer: Killer) -> None:
    """Every confirmed order has its mail. SMTP cannot tell a repetition, so a worker that is killed between the
    server's acceptance and its own commit sends a mail again, and so does one that loses Postgres there.
    """

    def sent() -> Counter[str]:
        return Counter(SUBJECT.findall(b"\n".join(content for _, content in list(mail.mails)).decode()))

    # After many attempts, or after a worker that was killed with a mail in hand, the next attempt is minutes away.
    eventually("each order has its mail", lambda: set(promised.orders) <= set(sent()), LONGEST_PAUSE + 60)
    blows = killer.done["kill a background worker"] + killer.done["stop and continue"]
    blows += killer.done["restart postgres"] + killer.done["freeze postgres"] + killer.done["lose the standby"]
    twice = sum(number - 1 for number in sent().values())
    assert twice <= blows * AT_ONCE, f"{twice} mails came again after {blows} kills and freezes"


def tell(seed: int, promised: Promised, killer: Killer, faults: Faults) -> None:
    print(f"\nchaos with seed {seed}:")
    figures = {**promised.figures, **killer.done, "answers dropped": faults.dropped, "answers delayed": faults.delayed}
    for name, number in sorted(figures.items()):
        print(f"  {number:6} {name}")
    print(f"  {promised.longest:6.1f} s took the slowest answer")
