"""`manage.py up` says in a line why it does not start, and other commands say how the platform is."""

import socket

from platform_core.conf.environment import EXIT_CODE
from platform_core.stack.supervisor import health_of
from platform_core.topology import ORDER, SERVICES, USER


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
    assert f"Port {own_stack.ports[ORDER.package]} of order-service is in use" in done.stderr
    assert "ORDER_SERVICE_URL" in done.stderr
    own_stack.await_end()


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
    (own_stack.prepare().folder / "data" / "postgres" / "PG_VERSION").write_text("9\n")
    done = own_stack.run("up")
    assert done.returncode == 1
    assert "does not start" in done.stderr
    assert "postgres.log" in done.stderr
    own_stack.await_end()


def test_status_shows_the_five_services_and_sets_its_exit_code(stack, own_stack):
    down = own_stack.run("status")
    assert down.returncode == 1
    assert down.stdout.count("no answer") == len(SERVICES)
    up = stack.run("status")
    assert up.returncode == 0
    for service in SERVICES:
        assert service.name in up.stdout


def test_an_unknown_command_lists_the_commands(own_stack):
    done = own_stack.run("upp")
    assert done.returncode == 2
    for word in ("up", "migrate", "status", "user_svc"):
        assert word in done.stderr + own_stack.run().stdout
