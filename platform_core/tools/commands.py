"""The platform's own commands, which `manage.py` runs if its first argument is not a service."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from django.core.management import execute_from_command_line
from rich.console import Console
from rich.table import Table

from platform_core.conf.environment import (
    ConfigurationError,
    as_url,
    direct_parts,
    keys_dir,
    owner_url,
    parsed,
    read_dotenv,
)
from platform_core.stack import (
    Stack,
    StackError,
    ask_for_restart,
    ensure_limits,
    ensure_roles,
    health_of,
    make_keys,
    migrate_all,
    only_migration,
    pg_tools,
    postgres,
    raise_epochs,
    running,
    shortages,
)
from platform_core.tools import backup as archive
from platform_core.tools import demo as shop
from platform_core.tools import generate as generating
from platform_core.tools import load as crowd
from platform_core.tools import move as moving
from platform_core.tools import new_service as new
from platform_core.tools import verify as books
from platform_core.tools.demo_data import Spec
from platform_core.tools.messages import in_one_line
from platform_core.tools.tables import fitted
from platform_core.topology import SERVICES, Service

NEED_NO_DATABASE = frozenset(
    ("check", "collectstatic", "diffsettings", "help", "spectacular", "version", "--help", "--version")
)

NEED_A_SESSION = frozenset(("migrate", "dbshell"))
"""Django's commands that do not go through a pooler in transaction mode."""


def up(values: dict[str, Any], *, only: Sequence[Service] = SERVICES) -> int:
    """Start Postgres, the five services and their workers on this machine."""
    return Stack(values, os.environ, only).run()


def _up_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        type=_services,
        default=SERVICES,
        metavar="order,user",
        help="show all log lines of these services, and only warnings and errors of the others (all services run)",
    )


def _services(text: str) -> tuple[Service, ...]:
    known = {name: service for service in SERVICES for name in (service.stem, service.name, service.package)}
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            stems = ", ".join(service.stem for service in SERVICES)
            raise argparse.ArgumentTypeError(f"expected some of {stems}, separated by commas, found {name!r}")
    return tuple(known[name] for name in names)


def migrate(values: dict[str, Any]) -> int:
    """Create missing roles and schemas, set the roles' limits, and migrate all five services."""
    with _with_database(values, migrating=True) as values:
        migrate_all(values, os.environ)
        for warning in (*ensure_limits(values), *shortages(values)):
            print(f"Warning: {warning}", file=sys.stderr)
        print("All five services are migrated.")
    return 0


def _is_embedded(service: Service, values: Mapping[str, Any]) -> bool:
    """Whether the service's database is on the embedded server, be it behind a pooler."""
    parts = direct_parts(service, values)
    return parts is None or postgres.holds(Path(values["PLATFORM_DATA"]), parts)


@contextmanager
def _with_database(values: dict[str, Any], *, migrating: bool = False) -> Iterator[dict[str, Any]]:
    """``values`` with the URL of a server that has the roles: the configured one, otherwise the embedded one.

    With ``migrating`` the roles are created, and the block runs, while no other process migrates.
    """
    server = None
    if not values["DATABASE_URL"] and any(_is_embedded(service, values) for service in SERVICES):
        server = postgres.acquire(Path(values["PLATFORM_DATA"]))
        values = {**values, "DATABASE_URL": server.url}
    try:
        with only_migration(values) if migrating else nullcontext():
            ensure_roles(values)
            yield values
    finally:
        if server:
            server.release()


def demo(values: dict[str, Any], **wanted: int) -> int:
    """Create demo data: users, products, and orders of the past weeks.

    The same seed and numbers give the same data. Existing rows are not changed: a second run adds nothing, larger
    numbers add the difference, and a run that was interrupted is completed. Another seed adds other data. The platform
    may be running. Not for production.
    """
    spec = Spec(**wanted, now=datetime.now(UTC))
    shop.check(values, spec)
    with _with_database(values) as values:
        return shop.fill(values, os.environ, spec)


def keys(values: dict[str, Any], *, rotate: bool = False) -> int:
    """Create the missing keys with which the services sign their calls."""
    made = make_keys(values, rotate=rotate)
    if made:
        print(f"New keys for {', '.join(made)}.")
    print(f"The keys of the five services are in {keys_dir(values)}.")
    if made and rotate:
        print(
            "Restart the five services now, one after the other; if `manage.py up` runs, with `manage.py restart`. "
            "Until then they sign with their previous keys, which stay valid until the next rotation."
        )
    return 0


def _keys_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rotate", action="store_true", help="create new keys; the present ones stay valid until the next rotation"
    )


def new_epoch(values: dict[str, Any], *, services: Sequence[Service] = SERVICES) -> int:
    """Run this after a restore by other means, or after a loss of transactions. The platform may be running.

    The feeds continue after what consumers have read. New users, products, orders and notifications get ids that no
    service has ever seen. With SERVICE only the feed and the ids of this service are renewed. Running it without need,
    or twice, does no harm.
    """
    with _with_database(values) as values:
        for name, epoch in raise_epochs(values, services).items():
            print(f"The feed of {name} continues in epoch {epoch}.")
    print("New ids are higher than all ids that any service knows. Next, while the platform runs:")
    print("`manage.py verify --repair` and `manage.py analytics_svc rebuild`: figures may count what was lost.")
    return 0


def _new_epoch_options(parser: argparse.ArgumentParser) -> None:
    text = "the service whose database was restored or has lost transactions, or several (all)"
    parser.add_argument(
        "services", type=_services_with_feeds, nargs="?", default=SERVICES, metavar="SERVICE", help=text
    )


def _services_with_feeds(text: str) -> tuple[Service, ...]:
    services = _services(text)
    for service in services:
        if not service.has_feed:
            raise argparse.ArgumentTypeError(f"{service.name} has no feed, and so no epoch")
    return services


def move_service(values: dict[str, Any], *, services: Sequence[Service], abort: bool, yes: bool, **wanted: Any) -> int:
    """Move a service's schema to another Postgres server, while the platform runs, by logical replication.

    The service answers 503 for the seconds of the pause, in which the last changes are carried over. Run it again after
    any interruption. With --abort the service goes on at the source. docs/operations.md describes all steps.
    """
    if len(services) != 1:
        raise StackError("move_service moves one service at a time.")
    asks = sys.stdin.isatty() and not yes
    options = moving.Options(**wanted, ask=input if asks else None)
    is_embedded = not values["DATABASE_URL"] and not options.source
    with _with_database(values) as values:
        move = moving.Move(services[0], values, options, is_embedded)
        move.abort() if abort else move.run()
    return 0


def _move_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", type=_services, metavar="SERVICE", help="the service")
    parser.add_argument(
        "--to",
        dest="target",
        required=True,
        metavar="URL",
        help="administrator of the new server, and the database there",
    )
    parser.add_argument(
        "--from", dest="source", metavar="URL", help="administrator of the present server (DATABASE_URL)"
    )
    parser.add_argument(
        "--source-from-target",
        metavar="URL",
        help="the present server as the new one reaches it, if that differs from --from",
    )
    parser.add_argument("--url-file", type=Path, metavar="FILE", help="write the service's new URL to this file")
    parser.add_argument("--before-pause", metavar="COMMAND", help="run this right before the pause")
    parser.add_argument("--then", metavar="COMMAND", help="starts the service with its new URL, which is set for it")
    parser.add_argument(
        "--lead",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="run --then so long before the pause; the processes that it starts become ready at its end (0)",
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, metavar="N", help="the longest wait for the copy to catch up (60)"
    )
    parser.add_argument(
        "--counts-only",
        dest="with_contents",
        action="store_false",
        help="compare numbers of rows only, not contents: a shorter pause",
    )
    parser.add_argument("--yes", action="store_true", help="begin the pause without asking")
    parser.add_argument("--abort", action="store_true", help="give up the move; the service goes on at the source")


def backup(values: dict[str, Any], *, file: Path) -> int:
    """Write a backup of all five schemas, from one snapshot, for `restore`. The platform may be running."""
    with _with_database(values) as server:
        archive.back_up(server, file, is_embedded=not values["DATABASE_URL"])
    print(f"{file}: {file.stat().st_size:,} bytes. Keep SECRET_KEY with it, unless it is the development default.")
    return 0


def restore(values: dict[str, Any], *, file: Path, force: bool) -> int:
    """Replace the platform's data by a backup. The platform must not run.

    If it fails or is killed, the platform is unchanged. It raises the epochs of the feeds, as new_epoch does.
    """
    with _with_database(values) as server:
        archive.restore(server, file, is_embedded=not values["DATABASE_URL"], force=force)
    print(
        "Restored; the feeds continue in a new epoch, so new_epoch is not needed.\n"
        "Next: use the SECRET_KEY of the backup, start the platform (`manage.py up`), and run `manage.py verify`."
    )
    return 0


def dbshell(values: dict[str, Any], *, arguments: list[str]) -> int:
    """Open psql on the platform's database as its administrator, for example `dbshell -c "SELECT 1"`."""
    with _with_database(values) as server:
        url = owner_url(server)
        if not url:
            raise StackError("DATABASE_URL is not set: name a service, as in `manage.py order_svc dbshell`.")
        psql = pg_tools.find_tool("psql", url, is_embedded=not values["DATABASE_URL"])
        return pg_tools.run_shell(psql, url, arguments)


def _file_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def _restore_options(parser: argparse.ArgumentParser) -> None:
    _file_option(parser)
    parser.add_argument("--force", action="store_true", help="replace existing data without asking")


def _dbshell_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arguments", nargs="*", metavar="...", help="options for psql")


def status(values: dict[str, Any]) -> int:
    """Show the status of the five services. Exit code 1 if one is not healthy."""
    table = Table("service", "URL", "state", "database", "version", "mode", "up for")
    well = True
    for service in SERVICES:
        url = values[service.url_variable]
        code, body = health_of(url, "/health")
        well = well and code == 200
        try:
            health = msgspec.json.decode(body) if code else {}
        except msgspec.MsgspecError:
            health = {}
        state = {200: "[green]ok[/]", 0: "[red]no answer[/]"}.get(code, f"[red]{health.get('status', code)}[/]")
        database = health.get("checks", {}).get("database", {})
        took = f"{database['latencyMs']:g} ms" if "latencyMs" in database else database.get("status", "")
        seconds = f"{health['uptimeSeconds']:.0f} s" if "uptimeSeconds" in health else ""
        table.add_row(service.name, url, state, took, health.get("version", ""), health.get("mode", ""), seconds)
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=max(terminal.width, 110))
    console.print(fitted(console, table))
    return 0 if well else 1


def restart(values: dict[str, Any], *, services: Sequence[Service]) -> int:
    """Replace the web and the worker of services of the running `up`, one service after the other, without a pause.

    The new processes load the code from the disk, with the variables of `up`, and take over when they are ready. If
    they do not become ready, the present ones stay, and the exit code is 1.
    """
    for service in services:
        print(ask_for_restart(Path(values["PLATFORM_DATA"]), service.package))
    return 0


def _restart_options(parser: argparse.ArgumentParser) -> None:
    stems = ",".join(service.stem for service in SERVICES[:2])
    parser.add_argument("services", type=_services, metavar="SERVICE", help=f"the service, or several: {stems}")


def verify(values: dict[str, Any], *, wait: float = 15.0, repair: bool = False) -> int:
    """Check the promises across all services. Prints each violation; exit code 1 if there is one."""
    if not values["DATABASE_URL"]:
        values = {**values, "DATABASE_URL": postgres.url(Path(values["PLATFORM_DATA"]))}
    return books.verify(values, wait=wait, repair=repair)


def _verify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair",
        action="store_true",
        help="release stock that is held for no order, and redrive dead letters; both are safe",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=15.0,
        metavar="SECONDS",
        help="report only what is still wrong after this time, because work in progress looks like a violation (15)",
    )


def load(
    values: dict[str, Any], *, users: int, seconds: int, mix: dict[str, int], json: Path | None, web: int | None
) -> int:
    """Load the running platform with virtual users. Prints throughput and response times; exit code 1 after failures.

    Failures are requests without an answer and 5xx, except 503 with Retry-After. It needs locust, which
    requirements-dev.txt installs. Its users, its products ("Loadtest …") and its orders are not deleted afterwards. In
    production it needs STAFF_TOKEN to create products; without it, it orders existing ones.
    """
    crowd.run(users, seconds, mix, json, web)


def _load_options(parser: argparse.ArgumentParser) -> None:
    for name, default, limit, meaning in (
        ("users", 10, 2000, "number of virtual users"),
        ("seconds", 30, 86_400, "duration"),
    ):
        text = f"{meaning}, 1 to {limit} ({default})"
        parser.add_argument(f"--{name}", type=_whole(limit, 1), default=default, metavar="N", help=text)
    usual = ",".join(f"{name}={weight}" for name, weight in crowd.MIX.items())
    parser.add_argument("--mix", type=_mix, default=dict(crowd.MIX), help=f"weight of each action ({usual})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the summary to this file")
    page = f"serve locust's page for starting and watching runs, on this port ({crowd.PORT}) of {crowd.HOST}"
    parser.add_argument("--web", type=_whole(65_535, 1), nargs="?", const=crowd.PORT, metavar="PORT", help=page)


def _mix(text: str) -> dict[str, int]:
    try:
        return crowd.mix_of(text)
    except ValueError as expected:
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}") from None


def _demo_options(parser: argparse.ArgumentParser) -> None:
    for name, default in (("users", 50), ("products", 40), ("orders", 200)):
        limit = shop.LIMITS[name]
        meaning = f"how many {name} to create, at most {limit} ({default})"
        parser.add_argument(f"--{name}", type=_whole(limit), default=default, metavar="N", help=meaning)
    parser.add_argument(
        "--seed",
        type=_whole(shop.MAX_SEED),
        default=1,
        metavar="N",
        help="selects the data; emails and skus contain it (1)",
    )


def _whole(limit: int, least: int = 0) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= limit):
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {limit}, found {text!r}")
        return int(text)

    return parse


def generate(values: dict[str, Any], *, check: bool = False) -> int:
    """Write the generated files and parts: container files, .env.example, OpenAPI documents, tables in docs."""
    files = generating.generated_files()
    paths = generating.differing(files) if check else generating.write(files)
    for path in paths:
        print(f"{path} is out of date: run `make generate`." if check else f"{path} has been written.")
    if not paths:
        print("All generated files are up to date.")
    return 1 if check and paths else 0


def _generate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is out of date")


def new_service(values: dict[str, Any], *, name: str, resource: str, purpose: str) -> int:
    """Create a service: a package with one resource, its tests, and its entries in all other files.

    The code is an example to change: list, detail, create, update, delete, and an event for each change. If anything
    fails, no file is changed.
    """
    names = new.names_of(name, resource, purpose)
    print(new.report(names, new.make(names)))
    return 0


def _new_service_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="lower-case letters, such as reviews; the package is then reviews_svc")
    resource = "name of the resource; by default the singular of the service's name"
    parser.add_argument("--resource", default="", metavar="Review", help=resource)
    parser.add_argument("--purpose", default="", metavar="TEXT", help="a short description for the tables in the docs")


COMMANDS: dict[str, Callable[..., int]] = {
    "up": up,
    "migrate": migrate,
    "backup": backup,
    "dbshell": dbshell,
    "demo": demo,
    "generate": generate,
    "keys": keys,
    "load": load,
    "move_service": move_service,
    "new_epoch": new_epoch,
    "new_service": new_service,
    "restart": restart,
    "restore": restore,
    "status": status,
    "verify": verify,
}
OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "up": _up_options,
    "backup": _file_option,
    "dbshell": _dbshell_options,
    "restart": _restart_options,
    "restore": _restore_options,
    "demo": _demo_options,
    "generate": _generate_options,
    "keys": _keys_options,
    "load": _load_options,
    "move_service": _move_options,
    "new_epoch": _new_epoch_options,
    "new_service": _new_service_options,
    "verify": _verify_options,
}


def main(arguments: Sequence[str]) -> int:
    """Run a platform command; the exit code. Expected mistakes are printed in one line."""
    read_dotenv()
    parser = argparse.ArgumentParser(
        prog="manage.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The platform's own commands. `manage.py SERVICE COMMAND` runs a Django command of one service.",
        epilog="services: " + ", ".join(service.package for service in SERVICES),
    )
    chosen = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        meaning = command.__doc__ or ""
        own = chosen.add_parser(name, help=meaning.splitlines()[0], description=meaning)
        if name in OPTIONS:
            OPTIONS[name](own)
    if arguments[:1] == ["dbshell"] and arguments[1:2] not in (["-h"], ["--help"]):
        arguments = ["dbshell", "--", *arguments[1:]]  # all further arguments are for psql
    options = vars(parser.parse_args(arguments))
    command = COMMANDS[options.pop("command")]

    def run() -> int:
        read_dotenv()
        if command is not up:
            find_running()
        return command(parsed(os.environ), **options)

    return in_one_line(run)


def find_running() -> None:
    """Set the URL variables of the `up` that runs from the data folder, unless they are set already."""
    folder = Path(parsed(os.environ)["PLATFORM_DATA"])
    for name, url in running.urls(folder).items():
        os.environ[name] = os.environ.get(name) or url


def run_for_service(service: Service, arguments: Sequence[str]) -> int:
    """Run a Django command of one service; the exit code. Expected mistakes are printed in one line."""

    def run() -> int:
        prepare_service(service, arguments)
        execute_from_command_line([sys.argv[0], *arguments])
        return 0

    return run() if "--traceback" in arguments else in_one_line(run)


def prepare_service(service: Service, arguments: Sequence[str]) -> None:
    """Prepare this process for a Django command of a service: settings, and in development the embedded database.

    Raises ConfigurationError, PostgresError, RolesError, KeysError.
    """
    read_dotenv()
    os.environ["DJANGO_SETTINGS_MODULE"] = service.settings_module
    find_running()
    values = parsed(os.environ)
    if not arguments or arguments[0] in NEED_NO_DATABASE:
        return
    if arguments[0] in NEED_A_SESSION and (direct := direct_parts(service, values)):
        os.environ[service.database_url_variable] = as_url(direct)
    if values["DATABASE_URL"] or not _is_embedded(service, values):
        return
    if values["PLATFORM_ENV"] == "production":
        raise ConfigurationError(["DATABASE_URL: production needs one"])
    make_keys(values)
    server = postgres.acquire(Path(values["PLATFORM_DATA"]))
    ensure_roles({**values, "DATABASE_URL": server.url})
    os.environ["DATABASE_URL"] = server.url
    _in_use.append(server)
    if arguments[0] == "dbshell":  # Django looks for psql on the PATH
        os.environ["PATH"] = f"{pg_tools.embedded_folder()}{os.pathsep}{os.environ.get('PATH', '')}"


_in_use: list[postgres.EmbeddedPostgres] = []
"""Keeps the leases of the embedded server open until the process ends."""
