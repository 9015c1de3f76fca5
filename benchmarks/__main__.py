"""``python -m benchmarks``: compares the platform with other implementations on this machine."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import contenders as package
from benchmarks import hot, mail, reporting, scaling
from benchmarks.comparing import THIS, Comparison
from benchmarks.contender import SERVICES, Contender
from benchmarks.database import LARGE, SMALL, temporary_folder, temporary_server
from benchmarks.footprint import PlatformFailed, measure_platform
from benchmarks.measuring import ContenderFailed, Measurement, Options
from benchmarks.reporting import about, as_json, tables, write
from benchmarks.running import end_on_signals, ignore_signals
from benchmarks.seeding import Size
from benchmarks.work import WORK
from tests.ports import free_ports

USERS, PRODUCTS, FEW_ORDERS = 1000, 10_000, 1000


def known_contenders() -> dict[str, Contender]:
    """The contenders by name, from CONTENDER or CONTENDERS of the modules in benchmarks/contenders."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        loaded = importlib.import_module(f"{package.__name__}.{module.name}")
        for contender in getattr(loaded, "CONTENDERS", None) or (loaded.CONTENDER,):
            found[contender.name] = contender
    return found


def main(arguments: Sequence[str]) -> int:
    known = known_contenders()
    chosen = _parser(known).parse_args(arguments)
    console = reporting.console()
    end_on_signals()
    try:
        if chosen.what == "hot":
            rush(chosen, known[THIS], console)
        elif chosen.what == "mail":
            drain(chosen, console)
        elif chosen.scaling:
            scale(chosen, known[THIS], console)
        else:
            measure(chosen, [known[name] for name in chosen.contenders], console)
    except (ContenderFailed, PlatformFailed) as error:
        console.print(f"✗ {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    finally:
        ignore_signals()
    return 0


def measure(chosen: argparse.Namespace, contenders: Sequence[Contender], console: Console) -> None:
    """Compares the contenders, and measures the platform as a whole. Raises ContenderFailed, PlatformFailed."""
    from benchmarks.chart import draw  # matplotlib, which only this needs

    with measurement(chosen, console) as prepared:
        measured = prepared.run(contenders, [work for work in WORK if work.name in chosen.work])
    comparison = Comparison(measured, measure_platform() if chosen.platform else None)
    shown = tables(comparison)
    write(chosen.out, "results", as_json(comparison, about(_shown_arguments(chosen))), shown)
    draw(comparison, chosen.out / "results.png")
    for table in shown:
        table.print(console)


def scale(chosen: argparse.Namespace, this: Contender, console: Console) -> None:
    """Measures this project with more workers and more orders. Raises ContenderFailed."""
    with measurement(chosen, console) as prepared:
        steps = scaling.measure_scaling(prepared, this)
    table = scaling.scaling_table(steps)
    write(chosen.out, "scaling", scaling.as_json(steps, about(_shown_arguments(chosen))), [table])
    table.print(console)


def rush(chosen: argparse.Namespace, this: Contender, console: Console) -> None:
    """Measures many clients on one product. Raises ContenderFailed."""
    with measurement(chosen, console) as prepared:
        rushes = hot.measure_rushes(prepared, this, chosen.pieces)
    shown = hot.hot_tables(rushes)
    write(chosen.out, "hot", hot.as_json(rushes, about(_shown_arguments(chosen))), shown)
    for table in shown:
        table.print(console)


def drain(chosen: argparse.Namespace, console: Console) -> None:
    """Measures how fast queued mails leave. Raises PlatformFailed."""
    drained = mail.measure_mail(chosen.mails)
    table = mail.mail_table(drained)
    write(chosen.out, "mail", mail.as_json(drained, about(_shown_arguments(chosen))), [table])
    table.print(console)


@contextmanager
def measurement(chosen: argparse.Namespace, console: Console) -> Iterator[Measurement]:
    """Starts its own Postgres and uses free ports."""
    sizes = {SMALL: Size(USERS, PRODUCTS, FEW_ORDERS), LARGE: Size(USERS, PRODUCTS, chosen.orders)}
    options = Options(chosen.rounds, chosen.seconds, chosen.connections, chosen.workers, chosen.threads)
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    with temporary_folder() as folder, temporary_server(folder, sizes) as server:
        yield Measurement(server, folder, ports, options, lambda line: console.print(line, markup=False))


def _shown_arguments(chosen: argparse.Namespace) -> dict[str, Any]:
    """The arguments, without those that contain local paths."""
    passed_over = {"out", "contenders", "work", "platform", "workers"} if chosen.scaling else {"out"}
    return {name: value for name, value in vars(chosen).items() if name not in passed_over}


def _parser(known: dict[str, Contender]) -> argparse.ArgumentParser:
    works = [work.name for work in WORK]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        choices=("all", "hot", "mail"),
        default="all",
        help="hot: many clients, one product; mail: queued mails",
    )
    parser.add_argument("--mails", type=int, default=100_000, metavar="N", help="queued for `mail` (100000)")
    parser.add_argument("--pieces", type=int, default=10_000, metavar="N", help="of the sale of `hot` (10000)")
    parser.add_argument("--contenders", type=_some_of(list(known)), default=list(known), metavar="NAME,…")
    parser.add_argument("--work", type=_some_of(works), default=works, metavar="NAME,…")
    for name, default, meaning in (
        ("rounds", 5, "how often all of it is measured"),
        ("connections", 8, "that the client keeps open"),
        ("workers", 2, "processes of each service"),
        ("threads", 4, "of each worker process"),
        ("orders", 1_000_000, "in the large database"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} ({default})")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="N", help="of each measurement (2)")
    parser.add_argument("--scaling", action="store_true", help="only this project, with more workers and more orders")
    parser.add_argument(
        "--platform", action=argparse.BooleanOptionalAction, default=True, help="also measure `manage.py up` as a whole"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/performance"), help="the folder of the results")
    return parser


def _some_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",")]
        for name in found:
            if name not in names:
                raise argparse.ArgumentTypeError(f"expected some of {', '.join(names)}, found {name!r}")
        return found

    return parse


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
