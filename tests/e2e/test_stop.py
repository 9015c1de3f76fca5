"""The platform stops at any moment: requests are finished, no data is lost, and no process is left."""

import signal
import threading
import time

import psycopg
import pytest

from platform_core.topology import ORDER, SERVICES, USER
from tests.e2e.stack import TIMEOUT, Shop, eventually, order_something, slow


@pytest.mark.parametrize("number", [slow(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="Ctrl-C")])
def test_it_stops_cleanly_and_orders_survive_a_restart(own_stack, number):
    order = order_something(own_stack.up())
    assert own_stack.end(number) == 0
    own_stack.await_end()
    assert Shop(own_stack.up()).get(ORDER, f"/api/orders/{order}")["status"] == "confirmed"


@pytest.mark.parametrize("moment", [slow("Postgres"), slow("migrations"), "services"])
def test_ctrl_c_during_the_start_leaves_nothing_behind(own_stack, moment):
    if moment == "services":
        own_stack.prepare()  # the others begin with nothing: what is migrated already would hardly take any time
    process = own_stack.launch()
    eventually(f"the step {moment}", lambda: moment in own_stack.said() or process.poll() is not None)
    time.sleep(0.2)
    assert own_stack.end(signal.SIGINT) == 0
    own_stack.await_end()
    own_stack.up()


def test_a_request_in_flight_is_finished_before_it_stops(own_stack):
    own_stack.up()
    answers = []

    def create() -> None:
        body = {"name": "Slow", "email": "slow@example.com"}
        answers.append(Shop(own_stack).ask("POST", USER, "/api/users", json=body).status_code)

    with psycopg.connect(own_stack.database_url()) as connection:
        connection.execute("LOCK TABLE user_svc.user_svc_user IN SHARE MODE")
        client = threading.Thread(target=create)
        client.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with psycopg.connect(own_stack.database_url(), autocommit=True) as onlooker:
            eventually("the request waits", lambda: onlooker.execute(waiting).fetchone() == (1,))
        assert own_stack.process is not None
        own_stack.process.send_signal(signal.SIGTERM)
        eventually("it is stopping", lambda: "Stopping" in own_stack.said())
        time.sleep(0.5)
        connection.rollback()
    client.join(TIMEOUT)
    assert answers == [201]
    assert own_stack.process.wait(TIMEOUT) == 0


def test_a_signal_that_comes_twice_at_once_does_not_cut_requests_off(own_stack):
    own_stack.up()
    masters = [own_stack.webs(service)[0] for service in SERVICES]
    assert own_stack.process is not None
    for _ in range(3):
        own_stack.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert own_stack.process.wait(TIMEOUT) == 0
    assert "ended with code" not in own_stack.said()
    assert not any(master.is_running() and master.status() != "zombie" for master in masters)
