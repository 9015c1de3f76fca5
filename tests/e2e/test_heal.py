"""What is killed starts again, and no data is lost."""

import signal
import subprocess

from platform_core.stack.supervisor import health_of
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, USER
from tests.e2e.stack import TIMEOUT, Shop, eventually, order_something


def test_a_killed_supervisor_stops_everything_and_a_new_one_keeps_the_data(own_stack):
    order = order_something(own_stack.up())
    own_stack.end(signal.SIGKILL)
    own_stack.up()  # at once: dying processes may still hold ports and data
    assert Shop(own_stack).get(ORDER, f"/api/orders/{order}")["status"] == "confirmed"
    own_stack.end(signal.SIGKILL)  # and this time without a successor
    own_stack.await_end()


def test_a_killed_process_is_restarted(own_stack):
    order_something(own_stack.up())
    killed = own_stack.webs(USER)
    for service in (USER, ANALYTICS):
        own_stack.webs(service)[0].kill()
    for process in own_stack.workers():
        process.kill()
    eventually(
        "another user-service answers",
        lambda: health_of(own_stack.url(USER), "/health")[0] == 200 and own_stack.webs(USER)[0].pid != killed[0].pid,
    )
    shop = Shop(own_stack)
    user = shop.made(USER, "/api/users", name="Bea", email="bea@example.com")
    shop.made(NOTIFICATION, "/api/notifications/send", userId=user["id"], message="Hello", channel="log")
    eventually(
        "a worker delivers again",
        lambda: shop.get(NOTIFICATION, f"/api/notifications/{user['id']}")["results"][0]["status"] == "sent",
    )


def test_postgres_killed_heals_without_a_restart_of_the_services(own_stack):
    order = order_something(own_stack.up())
    webs = [process.pid for process in own_stack.webs(ORDER)]
    pid = int((own_stack.folder / "data" / "postgres" / "postmaster.pid").read_text().split()[0])
    subprocess.run(["kill", "-QUIT", str(pid)], check=True)
    shop = Shop(own_stack)
    eventually("orders again", lambda: shop.ask("GET", ORDER, f"/api/orders/{order}").status_code == 200, TIMEOUT)
    assert [process.pid for process in own_stack.webs(ORDER)] == webs
