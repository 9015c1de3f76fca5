"""Postgres is down for ten seconds under load: 503s during that time, and no lasting effect."""

import signal
import threading
import time

import psutil

from platform_core.topology import SERVICES
from tests.chaos.load import Promised, check_promises, customers
from tests.e2e.stack import Shop, eventually

AWAY = 10.0


def test_ten_seconds_without_postgres_break_no_promise_and_restart_no_process(stack, seed):
    promised, over = Promised(), threading.Event()
    clients = customers(stack, promised, seed, over)
    everybody = {p.pid for service in SERVICES for p in stack.webs(service)} | {p.pid for p in stack.workers()}
    for client in clients:
        client.start()
    eventually("orders are placed", lambda: promised.figures["orders confirmed"] > 20)

    guardian = next(p for p in stack.processes() if "platform_core.stack.guardian" in " ".join(p.cmdline()))
    guardian.suspend()  # it would start the server again at once
    cluster = stack.folder / "data" / "postgres" / "postmaster.pid"
    psutil.Process(int(cluster.read_text().split()[0])).send_signal(signal.SIGQUIT)
    time.sleep(AWAY)
    away = [Shop(stack).ask("GET", service, "/health/live").status_code for service in SERVICES]
    before = promised.figures["orders confirmed"]
    guardian.resume()

    eventually("orders are placed again", lambda: promised.figures["orders confirmed"] > before + 20, 60)
    over.set()
    for client in clients:
        client.join(120)
    assert away == [200] * len(SERVICES)
    assert promised.figures["answers 503"] > 0
    assert promised.figures["answers 500"] == 0
    assert {p.pid for service in SERVICES for p in stack.webs(service)} | {p.pid for p in stack.workers()} == everybody
    verified = stack.run("verify", "--wait", "90", timeout=400)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    check_promises(stack, promised)
