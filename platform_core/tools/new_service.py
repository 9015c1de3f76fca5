"""``manage.py new_service reviews``: creates a service with one resource, its tests, and its entries in other files.

The templates of the new files are in `service_template` (`string.Template`).
"""

import builtins
import importlib.util
import keyword
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from platform_core import topology
from platform_core.conf.environment import ROOT
from platform_core.tools import generate
from platform_core.vocabulary import EventType

TEMPLATES = Path(__file__).parent / "service_template"
TOPOLOGY = Path("platform_core", "topology.py")
_NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
"""makemigrations asks the database for the applied migrations, but works without an answer."""
_IMPORTED = {*("any", "event", "model", "query", "request"), *("resource", "response", "role", "rule", "serializer")}
"""Names that the new code imports or inherits."""


class NewServiceError(Exception):
    """The service cannot be created. No file has changed."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a service and its resource, such as reviews and Review, and all names that follow from them."""

    name: str
    Resource: str
    port: int
    purpose: str

    @property
    def package(self) -> str:
        """The package, such as ``reviews_svc``."""
        return f"{self.name}_svc"

    @property
    def constant(self) -> str:
        """The service's name in `topology`."""
        return self.name.upper()

    @property
    def words(self) -> str:
        """The resource in a sentence, such as ``gift card``."""
        return " ".join(re.findall("[A-Z][a-z]+", self.Resource)).lower()

    @property
    def plural(self) -> str:
        """The plural in a sentence, such as ``gift cards``."""
        return plural(self.words)

    @property
    def path(self) -> str:
        """The last part of the URL, such as ``gift-cards``."""
        return self.plural.replace(" ", "-")

    def values(self) -> dict[str, str]:
        """The values for the templates."""
        article = "an" if self.words[0] in "aeiou" else "a"
        return {
            "package": self.package,
            "service": f"{self.name}-service",
            "purpose": self.purpose,
            "Config": f"{self.name.capitalize()}Config",
            "Resource": self.Resource,
            "resource": self.words.replace(" ", "_"),
            "operation": self.Resource[0].lower() + self.Resource[1:],
            "words": self.words,
            "a_words": f"{article} {self.words}",
            "A_words": f"{article.capitalize()} {self.words}",
            "Label": self.plural.capitalize(),
            "path": self.path,
        }


def singular(word: str) -> str:
    """The singular of an English noun, by its ending: reviews, categories, boxes."""
    for ending, replacement in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending) + replacement
    return word if word.endswith(("ss", "us", "is")) or len(word) < 3 else word.removesuffix("s")


def plural(word: str) -> str:
    """The plural of an English noun, by its ending."""
    if re.search("[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "z", "ch", "sh")) else f"{word}s"


def names_of(name: str, resource: str = "", purpose: str = "") -> Names:
    """Check the names and derive the others. Raises NewServiceError if a name is invalid or in use."""
    if not re.fullmatch("[a-z]{2,20}", name):
        raise NewServiceError(f"{name!r} is not a valid service name: expected 2 to 20 lower-case letters.")
    resource = resource or singular(name).capitalize()
    if not re.fullmatch("(?=.{2,20}$)([A-Z][a-z]+)+", resource):
        raise NewServiceError(f"{resource!r} is not a valid resource name: expected one such as Review or GiftCard.")
    if not re.fullmatch(r"[^\n|\"\\$]{0,100}", purpose):
        raise NewServiceError(
            "The purpose must have at most 100 characters, without line breaks, pipes, quotes, \\ and $."
        )
    port = max(service.port for service in topology.SERVICES) + 1
    names = Names(name, resource, port, purpose or plural(re.sub("(?<=.)(?=[A-Z])", " ", resource).lower()))
    _check_free(names)
    return names


def _check_free(names: Names) -> None:
    resource = names.values()["resource"]
    if keyword.iskeyword(names.name) or keyword.iskeyword(resource) or resource in {*dir(builtins), *_IMPORTED}:
        raise NewServiceError(f"{names.name} and {names.Resource} would redefine a name of Python or Django.")
    if names.name in ("platform", "service", "services") or hasattr(topology, names.constant):
        raise NewServiceError(f"{names.name} is in use: platform_core has that name.")
    if resource in {event.resource for event in EventType}:
        raise NewServiceError(f"{resource} is in use: another service has events with that name. Use --resource.")
    for folder in (names.package, f"tests/{names.package}"):
        if (ROOT / folder).exists():
            raise NewServiceError(f"{folder} exists already.")


def make(names: Names) -> list[Path]:
    """Create the service. Returns the new and changed paths, relative to the project's root.

    Raises NewServiceError; in that case no file is changed.
    """
    if importlib.util.find_spec("ruff") is None:
        raise NewServiceError("The new code is formatted by ruff: install requirements-dev.txt (`make test` does).")
    changed = [TOPOLOGY, *map(Path, generate.PARTS), *map(generate.document_path, topology.SERVICES)]
    _check_committed(changed)
    before = {path: _content(path) for path in changed}
    files = rendered(names)
    with _undone_if_it_fails(before, names):
        for path, content in files.items():
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(content)
        (ROOT / TOPOLOGY).write_text(with_service((ROOT / TOPOLOGY).read_text(), names))
        folders = [names.package, f"tests/{names.package}", str(TOPOLOGY)]
        _run("-m", "ruff", "check", "--quiet", "--select", "I", "--fix", *folders)
        _run("-m", "ruff", "format", "--quiet", *folders)
        migration = ("manage.py", names.package, "makemigrations", names.package)
        _run("-W", "ignore::RuntimeWarning", *migration, DATABASE_URL=_NO_DATABASE)
        _run("manage.py", "generate")
    made = [generate.DOCUMENTS / f"{names.name}-service.json", Path(names.package), Path("tests", names.package)]
    return made + [path for path in changed if before[path] != _content(path)]


def rendered(names: Names) -> dict[Path, str]:
    """The contents of the new files, by path: those of the package and of its tests."""
    values = names.values()
    folders = {"package": Path(names.package), "tests": Path("tests", names.package)}
    found = {}
    for template in sorted(TEMPLATES.rglob("*.py-tpl")):
        first, *rest = template.relative_to(TEMPLATES).with_suffix(".py").parts
        path = folders[first].joinpath(*rest)
        path = path.with_name(path.name.replace("resources", names.path.replace("-", "_")))
        path = path.with_name(path.name.replace("resource", values["resource"]))
        found[path] = Template(template.read_text()).substitute(values)
    return found


def with_service(text: str, names: Names) -> str:
    """The text of the module `topology` with the new service at the end. Raises NewServiceError."""
    line = f'{names.constant} = Service("{names.package}", {names.port}, has_worker=True, purpose="{names.purpose}")'
    services = rf"\n{line}\n\nSERVICES = (\1, {names.constant})"
    changed, count = re.subn(r"\n\nSERVICES = \(([^)]*?),?\s*\)", services, text)
    if count != 1:
        raise NewServiceError(f"{TOPOLOGY} has no tuple SERVICES to add the service to.")
    return changed


def report(names: Names, paths: Sequence[Path]) -> str:
    """The text for the terminal: what was created, and what to do next."""
    python = ".venv/bin/python"
    return f"""\
Made {names.name}-service on port {names.port}, with one resource: {names.Resource}, at /api/{names.path}.

Added or changed:
{chr(10).join(f"  {path}{'/' if (ROOT / path).is_dir() else ''}" for path in paths)}

Next:
  1. Replace `name` and `description` with your own fields in {names.package}/models.py, serializers.py and the tests;
     then: {python} manage.py {names.package} makemigrations
  2. Set the access rules in {names.package}/access.py. At first only staff may use the service.
  3. make generate, and {python} -m tests {names.package} platform_core
  4. make dev: the service is at http://localhost:{names.port}/api/{names.path}, its documentation at /api/docs.
docs/sixth-service.md explains the new files."""


def _content(path: Path) -> bytes | None:
    return (ROOT / path).read_bytes() if (ROOT / path).exists() else None


def _check_committed(paths: Sequence[Path]) -> None:
    """Raises NewServiceError if one of the files has uncommitted changes. Does nothing without git."""
    try:
        command = ["git", "status", "--porcelain", "--", *map(str, paths)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return
    if done.returncode == 0 and done.stdout:
        files = ", ".join(line[3:] for line in done.stdout.splitlines())
        raise NewServiceError(f"Commit or undo your changes first; they would mix with the new ones: {files}.")


@contextmanager
def _undone_if_it_fails(before: dict[Path, bytes | None], names: Names) -> Iterator[None]:
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except BaseException:
        for folder in (names.package, f"tests/{names.package}"):
            shutil.rmtree(ROOT / folder, ignore_errors=True)
        (ROOT / generate.DOCUMENTS / f"{names.name}-service.json").unlink(missing_ok=True)
        for path, content in before.items():
            if content is not None and content != _content(path):
                (ROOT / path).write_bytes(content)
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)


def _run(*arguments: str, **variables: str) -> None:
    """Run a Python command. Raises NewServiceError with its output if it fails."""
    command, environment = [sys.executable, *arguments], {**os.environ, **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise NewServiceError(f"`{' '.join(arguments)}` failed, so nothing was created:\n{said}")
