"""`manage.py up` in normal operation and with faults: no data is lost, and no process is left."""

import signal
import socket
import subprocess
import threading
import time

import psycopg
import pytest

from platform_core.conf.environment import EXIT_CODE, parsed
from platform_core.stack import postgres
from platform_core.stack.roles import ensure_roles
from platform_core.stack.supervisor import health_of
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER
from tests.e2e.stack import TIMEOUT, Shop, Stack, eventually


def nothing_is_left(stack: Stack) -> None:
    eventually("nothing runs any more", lambda: not stack.processes())


def order_something(stack: Stack) -> str:
    shop = Shop(stack)
    user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")
    product = shop.made(PRODUCT, "/api/products", name="Lamp", price=1, stock=10)
    return shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=1)["id"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_it_stops_cleanly_and_orders_survive_a_restart(own_stack, number):
    order = order_something(own_stack.up())
    assert own_stack.end(number) == 0
    nothing_is_left(own_stack)
    assert Shop(own_stack.up()).get(ORDER, f"/api/orders/{order}")["status"] == "confirmed"


def test_a_killed_supervisor_stops_everything_and_a_new_one_keeps_the_data(own_stack):
    order = order_something(own_stack.up())
    own_stack.end(signal.SIGKILL)
    own_stack.up()  # at once: dying processes may still hold ports and data
    assert Shop(own_stack).get(ORDER, f"/api/orders/{order}")["status"] == "confirmed"
    own_stack.end(signal.SIGKILL)  # and this time without a successor
    nothing_is_left(own_stack)


@pytest.mark.parametrize("moment", ["Postgres", "migrations", "services"])
def test_ctrl_c_during_the_start_leaves_nothing_behind(own_stack, moment):
    if moment == "services":
        own_stack.prepare()  # the others begin with nothing: what is migrated already would hardly take any time
    process = own_stack.launch()
    eventually(f"the step {moment}", lambda: moment in own_stack.said() or process.poll() is not None)
    time.sleep(0.2)
    assert own_stack.end(signal.SIGINT) == 0
    nothing_is_left(own_stack)
    own_stack.up()


def test_a_second_platform_in_the_same_folder_names_the_running_process(stack):
    assert stack.process is not None
    second = stack.run("up")
    assert second.returncode == 1
    assert f"process {stack.process.pid}" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert health_of(stack.url(USER), "/health")[0] == 200


def test_a_taken_port_is_named_with_what_to_do(own_stack):
    with socket.create_server(("127.0.0.1", own_stack.ports[ORDER.package])):
        done = own_stack.run("up")
    assert done.returncode == 1
    assert f"Port {own_stack.ports[ORDER.package]} of order-service is taken" in done.stderr
    assert "ORDER_SERVICE_URL" in done.stderr
    nothing_is_left(own_stack)


def test_every_malformed_variable_is_named_at_once(own_stack):
    done = own_stack.run("up", LOG_LEVEL="loud", WEB_CONCURRENCY="0", SECRET_KEY="x", ORDER_SERVICE_URL="ftp://x")
    assert done.returncode == EXIT_CODE
    assert len(done.stderr.strip().splitlines()) == 3
    for name in ("LOG_LEVEL", "WEB_CONCURRENCY", "ORDER_SERVICE_URL"):
        assert f"{name}: expected" in done.stderr


def test_a_data_folder_that_cannot_be_made_is_named(own_stack):
    (own_stack.folder / "data").write_text("a file in its place")
    done = own_stack.run("up")
    assert done.returncode == 1
    assert "PLATFORM_DATA" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_cluster_is_named_with_its_log(own_stack):
    own_stack.up()
    own_stack.stop()
    (own_stack.folder / "data" / "postgres" / "PG_VERSION").write_text("9\n")
    done = own_stack.run("up")
    assert done.returncode == 1
    assert "does not start" in done.stderr
    assert "postgres.log" in done.stderr
    nothing_is_left(own_stack)


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


def test_status_shows_the_five_services_and_sets_its_exit_code(stack, own_stack):
    down = own_stack.run("status")
    assert down.returncode == 1
    assert down.stdout.count("no answer") == len(SERVICES)
    up = stack.run("status")
    assert up.returncode == 0
    for service in SERVICES:
        assert service.name in up.stdout


def test_a_service_alone_migrates_and_serves_on_its_own_port_beside_another(own_stack):
    environment = {"DJANGO_SUPERUSER_PASSWORD": "a-fine-password"}
    assert own_stack.run("user_svc", "migrate", "--verbosity", "0").returncode == 0
    made = own_stack.run(
        *("user_svc", "createsuperuser", "--no-input", "--username", "root", "--email", "root@example.com"),
        **environment,
    )
    assert made.returncode == 0, made.stderr
    nothing_is_left(own_stack)
    servers = [
        subprocess.Popen(
            own_stack.command(service.package, "runserver"),
            env={**own_stack.environment, "PORT": str(own_stack.ports[service.package])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for service in (USER, PRODUCT)
    ]
    try:
        eventually("user-service", lambda: health_of(own_stack.url(USER), "/health/ready")[0] == 200, TIMEOUT)
        eventually("product-service", lambda: health_of(own_stack.url(PRODUCT), "/health")[0] == 200, TIMEOUT)
        assert health_of(own_stack.url(PRODUCT), "/health/ready")[0] == 503  # its migrations are missing
        servers[0].send_signal(signal.SIGINT)
        servers[0].wait(TIMEOUT)
        assert health_of(own_stack.url(PRODUCT), "/health")[0] == 200  # the other one keeps Postgres
    finally:
        for server in servers:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
                server.wait(TIMEOUT)
    nothing_is_left(own_stack)


SLOW_FIRST_TABLE = """
    CREATE FUNCTION public.wait_for_the_first_table() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_user) THEN PERFORM pg_sleep(6); END IF;
    END $$;
    CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
        EXECUTE FUNCTION public.wait_for_the_first_table();
    GRANT USAGE ON SCHEMA public TO user_svc;
"""


def test_a_migration_may_take_longer_than_a_request_but_waits_for_no_lock_for_longer(own_stack):
    server = postgres.acquire(own_stack.folder / "data")
    try:
        ensure_roles(parsed({"DATABASE_URL": server.url}))
        with psycopg.connect(server.url) as connection:
            connection.execute(SLOW_FIRST_TABLE)
        done = own_stack.run("migrate")
        assert done.returncode == 0, done.stderr
        with psycopg.connect(server.url) as connection:
            connection.execute("LOCK TABLE order_svc.django_migrations")
            done = own_stack.run("migrate")
        assert done.returncode == 1
        assert "order-service failed" in done.stderr and "lock timeout" in done.stderr
    finally:
        server.release()


def test_an_unknown_command_lists_the_commands(own_stack):
    done = own_stack.run("upp")
    assert done.returncode == 2
    for word in ("up", "migrate", "status", "user_svc"):
        assert word in done.stderr + own_stack.run().stdout
