"""Mistakes that a new user makes: each is answered in one line that says what to do, and never by a traceback."""

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from platform_core.conf.environment import ROOT
from platform_core.stack import postgres, running
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER
from tests.e2e.stack import Shop, Stack, eventually, own_folder, slow, temporary_stack

NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(scope="module")
def migrated(template):
    """A data folder that has been migrated, where nothing runs."""
    with temporary_stack(template) as stack:
        yield stack.prepare()


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("user_svc", "make_staff", "notamail"), "'notamail' is not a valid email address"),
        (("user_svc", "make_staff", "a@example.com", "--name", "x" * 201), "is not a valid name"),
        (("product_svc", "export_products", "/nonexist/x.csv"), "/nonexist/x.csv cannot be written: No such file"),
        (("product_svc", "import_products", "/nonexist/x.csv"), "/nonexist/x.csv: No such file"),
        (("product_svc", "spectacular", "--file", "/nonexist/x.yaml"), "/nonexist/x.yaml: No such file"),
        (("backup", "/nonexist/x.backup"), "/nonexist/x.backup cannot be written: No such file"),
        (("restore", "/nonexist/x.backup"), "/nonexist/x.backup: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(migrated, arguments, expected):
    assert expected in one_line(migrated.run(*arguments))


def test_a_full_disk_is_named_when_an_export_fails(migrated):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            migrated.command("product_svc", "export_products"),
            cwd=ROOT,
            env=migrated.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert one_line(done).endswith("Standard output cannot be written: No space left on device.")


def test_a_database_that_is_not_migrated_is_named_with_what_to_do(own_stack):
    assert "run `manage.py migrate` first" in one_line(own_stack.run("user_svc", "make_staff", "a@example.com"))


@pytest.mark.parametrize(
    "arguments", [("make_staff", "a@example.com"), ("runserver", "0"), ("shell", "-c", "import x")]
)
def test_a_server_that_does_not_answer_is_said_in_one_line(own_stack, arguments):
    done = own_stack.run("user_svc", *arguments, DATABASE_URL=NOBODY)
    if arguments[0] == "shell":  # a bug in the user's own code keeps its traceback
        assert "Traceback" in done.stderr
    else:
        assert "Connection refused" in one_line(done)


def test_a_traceback_is_shown_to_those_who_ask_for_it(own_stack):
    done = own_stack.run("user_svc", "make_staff", "a@example.com", "--traceback", DATABASE_URL=NOBODY)
    assert "Traceback" in done.stderr


@pytest.mark.nightly
def test_a_data_folder_and_a_clone_may_have_any_name():
    with own_folder() as parent:
        clone = parent / "my shop 100%41 new"
        shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "__pycache__", "staticfiles", "artefacts"))
        stack = Stack(parent, is_pooled=False)
        environment = {name: value for name, value in stack.environment.items() if name != "PLATFORM_DATA"}
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=clone,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            said = ""
            while "Ready in" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            shop = Shop(stack)
            user = shop.made(USER, "/api/users", name="Ann", email="ann@example.com")
            product = shop.made(PRODUCT, "/api/products", name="Lamp", price=1, stock=10)
            shop.made(ORDER, "/api/orders", userId=user["id"], productId=product["id"], quantity=1)
            verified = subprocess.run(
                [sys.executable, "manage.py", "verify"], cwd=clone, env=environment, capture_output=True, text=True
            )
            assert verified.returncode == 0, verified.stdout + verified.stderr
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == 0


def test_the_entry_point_asks_an_old_python_for_a_newer_one():
    source = (ROOT / "manage.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    for node in ast.walk(tree):  # what a definition evaluates at once, an old Python must know
        if isinstance(node, ast.FunctionDef):
            for annotation in [*(each.annotation for each in node.args.args), node.returns]:
                assert isinstance(annotation, ast.Constant | ast.Name), ast.unparse(annotation)
    old = (
        "import sys, runpy; sys.version_info, sys.version = (3, 6, 15, 'final', 0), '3.6.15 (default)'; "
        "sys.argv = ['manage.py', 'up']; sys.modules['django'] = None; runpy.run_path('manage.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", old], cwd=ROOT, capture_output=True, text=True)
    assert one_line(done) == "Python 3.11 or later is needed, this is 3.6.15."


@pytest.mark.parametrize("command", [("up",), ("status",), ("user_svc", "check")], ids=" ".join)
@pytest.mark.parametrize("seconds", [0.1, slow(0.3), 0.6, slow(1.0)])
def test_ctrl_c_in_the_first_second_ends_a_command_without_a_word(own_stack, command, seconds):
    process = subprocess.Popen(
        own_stack.command(*command),
        cwd=ROOT,
        env=own_stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    # While Python itself starts, which takes longer on a busy machine, it prints a traceback of its own.
    if f"{ROOT}/manage.py" in said or "platform_core" in said:
        assert "Traceback" not in said
        assert "KeyboardInterrupt" not in said


def test_ctrl_c_within_a_callback_of_a_weak_reference_is_not_lost():
    code = """if True:
        import manage, signal, time, weakref
        class Thing: pass
        manage.keep_interrupts()
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        try:
            del thing
            time.sleep(30)
        except KeyboardInterrupt:
            print("ended")
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("ended\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_disk_that_is_too_small_is_named(own_stack):
    disk = own_stack.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        assert "No space left on the disk" in one_line(own_stack.run("migrate", PLATFORM_DATA=str(disk / "data")))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_port_that_is_in_use_is_named_with_another_one(migrated):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        message = one_line(migrated.run("order_svc", "runserver", str(port), timeout=30))
    assert f"Port {port} is in use, perhaps by `manage.py up`" in message
    assert f"runserver {port + 1000}" in message


def without_urls(stack: Stack) -> dict[str, str]:
    """A second terminal, in which no variable says where the services are."""
    return {service.url_variable: "" for service in SERVICES}


@pytest.mark.nightly
def test_other_commands_find_the_services_of_the_up_that_runs(own_stack):
    data = own_stack.folder / "data"
    own_stack.up()
    status = own_stack.run("status", **without_urls(own_stack))
    assert status.returncode == 0, status.stdout
    assert own_stack.url(ORDER) in status.stdout
    assert own_stack.run("verify", **without_urls(own_stack)).returncode == 0
    shell = ("analytics_svc", "shell", "-v0", "-c", "from django.conf import settings; print(settings.PEER_URLS)")
    assert own_stack.url(ORDER) in own_stack.run(*shell, **without_urls(own_stack)).stdout
    elsewhere = own_stack.run("status", **{**without_urls(own_stack), USER.url_variable: "http://127.0.0.1:1"})
    assert elsewhere.returncode == 1, "a variable takes precedence"
    assert "http://127.0.0.1:1 " in elsewhere.stdout
    own_stack.end(signal.SIGKILL)
    assert (data / "up.urls").exists()
    assert running.urls(data) == {}, "what a killed one has left behind misleads nobody"
    own_stack.up()
    assert running.urls(data)[ANALYTICS.url_variable] == own_stack.url(ANALYTICS)
    own_stack.end()
    assert not (data / "up.urls").exists()
    assert not (data / "up.pid").exists()


@pytest.mark.nightly
def test_up_ends_its_start_with_the_next_steps_and_warns_once(own_stack):
    own_stack.up()
    eventually("the next steps", lambda: "make_staff" in own_stack.said())
    said = own_stack.said()
    assert "manage.py demo` makes some" in said
    assert said.index(f"Dashboard: {own_stack.url(ANALYTICS)}/") < said.index("No data yet") < said.index("make_staff")
    assert f"Mails: {own_stack.url(NOTIFICATION)}/mails" in said
    assert said.count("Development mode") == 1
    Shop(own_stack).made(USER, "/api/users", name="Ann", email="ann@example.com")
    own_stack.end()
    own_stack.up()
    eventually("the next steps", lambda: "make_staff" in own_stack.said())
    assert "No data yet" not in own_stack.said()


def test_a_rotation_says_what_is_new_and_what_to_restart(own_stack):
    first = own_stack.run("keys")
    assert first.stdout.startswith("New keys for user-service, product-service")
    assert "Restart" not in first.stdout
    assert "New keys" not in own_stack.run("keys").stdout
    rotated = own_stack.run("keys", "--rotate")
    assert "New keys for user-service, product-service" in rotated.stdout
    assert "Restart the five services" in rotated.stdout


def test_the_dashboards_polling_is_logged_as_debug_and_nothing_else_is_hidden(stack):
    shop = Shop(stack)
    poll = {"X-Purpose": "poll", "X-Request-ID": "asked-again-and-again"}
    for report in ("summary", "orders?days=7", "products", "platform"):
        shop.get(ANALYTICS, f"/api/analytics/{report}", headers=poll)
    shop.get(USER, "/api/users", headers={**poll, "X-Request-ID": "a-list-by-a-poll"})
    assert shop.ask("GET", ANALYTICS, "/api/analytics/orders?days=x", headers=poll).status_code == 400
    shop.get(ANALYTICS, "/api/analytics/summary", headers={"X-Request-ID": "asked-once"})
    eventually("the last line", lambda: "asked-once" in stack.said())
    lines = [line for line in stack.said().splitlines() if line.startswith("{")]
    assert [json.loads(line)["status"] for line in lines if "asked-again-and-again" in line] == [400]
    assert any("a-list-by-a-poll" in line for line in lines)
    assert any("asked-once" in line and '"/api/events"' in line for line in lines), "the feeds that it reads, too"


@pytest.mark.parametrize("command", [["-m", "tests", "order_svc"], ["-m", "pytest", "tests/order_svc"]], ids=" ".join)
def test_tests_say_in_one_line_which_packages_they_need(tmp_path, command):
    """A Python that has pytest at most: the other packages are hidden."""
    hidden = ("hypothesis", "environ", "pytest_django") if "pytest" in command else ("pytest", "hypothesis")
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *a: None if name in {hidden} else real(name, *a)\n"
        "class Hidden(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name in {hidden}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "make test" in one_line(done)
    assert hidden[0] in done.stderr


def test_a_socket_lies_elsewhere_where_postgres_could_not_read_its_path(tmp_path):
    assert postgres.socket_folder(tmp_path / "a b%20c").parent == tmp_path / "a b%20c"
    assert "," not in str(postgres.socket_folder(tmp_path / "a,b"))
