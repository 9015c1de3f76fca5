"""Load from many clients while processes are killed. Afterwards the promises hold and all responses were true."""

import threading
import time

from platform_core.stack.supervisor import health_of
from platform_core.topology import SERVICES
from tests.chaos.killer import Killer
from tests.chaos.load import Promised, check_promises, customers
from tests.e2e.proxy import Faults
from tests.e2e.stack import eventually


def test_no_kill_breaks_a_promise(stack, faults, seed, request, capsys):
    promised, over = Promised(), threading.Event()
    clients = customers(stack, promised, seed, over)
    killer = Killer(stack, faults, seed, over)
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


def tell(seed: int, promised: Promised, killer: Killer, faults: Faults) -> None:
    print(f"\nchaos with seed {seed}:")
    figures = {**promised.figures, **killer.done, "answers dropped": faults.dropped, "answers delayed": faults.delayed}
    for name, number in sorted(figures.items()):
        print(f"  {number:6} {name}")
    print(f"  {promised.longest:6.1f} s took the slowest answer")
