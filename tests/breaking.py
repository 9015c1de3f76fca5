"""`python -m tests.breaking [git ref]`: finds breaking changes of the committed OpenAPI documents.

A change is breaking if a valid call becomes invalid, or if a response loses something that was promised. It is allowed
if CHANGELOG.md names its operation, as ``METHOD /path``, under "Breaking" in an unreleased section.
Without a ref, the documents are compared with the last tag. If there is no tag, they are compared with the start of
the branch, or on the main branch with the version before their last change.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from platform_core.conf.environment import ROOT
from platform_core.tools.generate import DOCUMENTS
from platform_core.topology import SERVICES
from tests.documents import committed, operations_of, target

Schema = dict[str, Any]
MAIN = "origin/main"
TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
INFINITE = float("inf")
EXACT = ("pattern", "format", "multipleOf", "uniqueItems")


@dataclass(frozen=True, slots=True)
class Break:
    """``operation`` is, for example, "GET /api/users"; ``what`` says what changed and where."""

    operation: str
    what: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.what}"


def breaks(old: Schema, new: Schema) -> list[Break]:
    """Yields all breaking changes from ``old`` to ``new``, two complete documents."""
    after = operations_of(new)
    found = []
    for name, operation in operations_of(old).items():
        if name not in after:
            found.append(Break(name, "it is gone"))
        else:
            said = _Comparison(old, new).operation(operation, after[name])
            found += [Break(name, what) for what in dict.fromkeys(said)]
    return found


@dataclass(frozen=True, slots=True)
class _Comparison:
    old: Schema
    new: Schema

    def operation(self, old: Schema, new: Schema) -> Iterator[str]:
        if not old.get("security") and new.get("security"):
            yield "it wants a token now"
        yield from self._parameters(old, new)
        yield from self._request(old.get("requestBody", {}), new.get("requestBody", {}))
        for status, answer in old["responses"].items():
            if status.startswith("2") and status not in new["responses"]:
                yield f"it does not answer {status} any more"
            elif status.startswith("2"):
                yield from self._answer(status, target(self.old, answer), target(self.new, new["responses"][status]))

    def _parameters(self, old: Schema, new: Schema) -> Iterator[str]:
        before, after = _named(self.old, old), _named(self.new, new)
        for name, parameter in before.items():
            if name not in after:
                yield f"{name} is gone"
            else:
                yield from self._schemas(name, parameter["schema"], after[name]["schema"], asked=True)
        for name, parameter in after.items():
            if parameter.get("required") and not before.get(name, {}).get("required"):
                yield f"{name} is required now"

    def _request(self, old: Schema, new: Schema) -> Iterator[str]:
        if new.get("required") and not old.get("required"):
            yield "a body is required now"
        if old and not new:
            yield "it takes no body any more"
        elif old:
            yield from self._content("request", old, new, asked=True)

    def _answer(self, status: str, old: Schema, new: Schema) -> Iterator[str]:
        yield from self._content(status, old, new, asked=False)
        for header in old.get("headers", {}).keys() - new.get("headers", {}).keys():
            yield f"{status} comes without the header {header}"

    def _content(self, where: str, old: Schema, new: Schema, *, asked: bool) -> Iterator[str]:
        for media_type, content in old.get("content", {}).items():
            if media_type not in new.get("content", {}):
                yield f"{where}: {media_type} is gone"
            else:
                yield from self._schemas(where, content["schema"], new["content"][media_type]["schema"], asked=asked)

    def _schemas(self, where: str, old: Schema, new: Schema, *, asked: bool) -> Iterator[str]:
        """With ``asked`` it is the schema of a request and must accept all earlier values, otherwise of a response."""
        old, new = target(self.old, _spelt_out(old)), target(self.new, _spelt_out(new))
        yield from _types(where, old, new, asked=asked)
        if asked:
            yield from _bounds(where, old, new)
        yield from self._members(where, old, new, asked=asked)
        for word in ("items", "additionalProperties"):
            if isinstance(old.get(word), dict) and isinstance(new.get(word), dict):
                yield from self._schemas(f"{where}[]", old[word], new[word], asked=asked)
        for word in ("allOf", "anyOf", "oneOf"):
            yield from self._alternatives(where, old.get(word, []), new.get(word, []), asked=asked)

    def _members(self, where: str, old: Schema, new: Schema, *, asked: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                yield f"{where}.{name} is gone"
            else:
                yield from self._schemas(f"{where}.{name}", schema, after[name], asked=asked)
        was, is_now = set(old.get("required", [])), set(new.get("required", []))
        for name in sorted(is_now - was if asked else (was - is_now) & set(after)):
            yield f"{where}.{name} is required now" if asked else f"{where}.{name} may be missing now"

    def _alternatives(self, where: str, old: list[Schema], new: list[Schema], *, asked: bool) -> Iterator[str]:
        if len(old) != len(new):
            yield f"{where} has other alternatives"
            return
        for number, (before, after) in enumerate(zip(old, new, strict=True), 1):
            yield from self._schemas(f"{where}({number})", before, after, asked=asked)


def _named(document: Schema, operation: Schema) -> dict[str, Schema]:
    found = [target(document, parameter) for parameter in operation.get("parameters", [])]
    return {f"{each['in']} parameter {each['name']}": each for each in found}


def _types(where: str, old: Schema, new: Schema, *, asked: bool) -> Iterator[str]:
    before, after = _types_of(old), _types_of(new)
    lost = before - after if asked else after - before
    if lost and asked:
        yield f"{where} may not be {', '.join(sorted(lost))} any more"
    elif lost:
        yield f"{where} may be {', '.join(sorted(lost))} now"


def _spelt_out(schema: Schema | bool) -> Schema:
    """Expands the schemas `true` (anything) and `false` (nothing)."""
    if isinstance(schema, bool):
        return {} if schema else {"type": []}
    return schema


def _types_of(schema: Schema) -> frozenset[str]:
    """The allowed types. Without a type it is any; a number includes integers."""
    given = schema.get("type", TYPES)
    found = frozenset([given] if isinstance(given, str) else given)
    return found | {"integer"} if "number" in found else found


def _bounds(where: str, old: Schema, new: Schema) -> Iterator[str]:
    yield from _lost_choices(where, old, new)
    for word in LOWER:
        if word in new and new[word] > old.get(word, 0 if word.startswith("min") and word != "minimum" else -INFINITE):
            yield f"{where} has a higher {word}"
    for word in UPPER:
        if word in new and new[word] < old.get(word, INFINITE):
            yield f"{where} has a lower {word}"
    for word in EXACT:
        if word in new and new[word] != old.get(word):
            yield f"{where} has another {word}"


def _lost_choices(where: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _choices(old), _choices(new)
    if after is None:
        return
    lost = ["anything else"] if before is None else [str(value) for value in before if value not in after]
    if lost:
        yield f"{where} may not be {', '.join(lost)} any more"


def _choices(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def named_in(changelog: str, released: str = "") -> str:
    """The text under "Breaking" in sections of ``changelog`` that the ``released`` one lacks."""
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    headings = set(re.findall(r"^## (.*)", released, flags=re.MULTILINE))
    fresh = [
        text for text in sections if (title := text.splitlines()[0]) not in headings or "unreleased" in title.lower()
    ]
    parts = [part for text in fresh for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]]
    return "\n".join(part for part in parts if part.lower().startswith("breaking"))


def not_named(found: list[Break], breaking: str) -> list[Break]:
    return [each for each in found if not re.search(re.escape(each.operation) + r"(?![\w/{-])", breaking)]


def git(*arguments: str) -> str:
    """The output of git. Empty if git fails or is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def earlier() -> str:
    """The ref to compare with. Empty if there is none."""
    if tag := git("describe", "--tags", "--abbrev=0"):
        return tag
    began = git("merge-base", "HEAD", MAIN)
    if began and began != git("rev-parse", "HEAD"):
        return began
    changed = git("rev-list", "-1", "HEAD", "--", str(DOCUMENTS))
    return git("rev-parse", "--verify", "--quiet", f"{changed}^") if changed else ""


def since(ref: str) -> list[Break] | None:
    """The breaking changes since ``ref``. None if ``ref`` has no documents."""
    found, compared = [], False
    for service in SERVICES:
        file = committed(service)
        if text := git("show", f"{ref}:{file.relative_to(ROOT).as_posix()}"):
            compared = True
            found += breaks(json.loads(text), json.loads(file.read_text()) if file.exists() else {"paths": {}})
    return found if compared else None


def main(arguments: list[str]) -> int:
    ref = arguments[0] if arguments else earlier()
    found = since(ref) if ref else None
    if found is None:
        print(f"Nothing to compare with: {f'no OpenAPI documents in {ref}' if ref else 'there is no earlier version'}.")
        return 0
    changelog = (ROOT / "CHANGELOG.md").read_text()
    secret = not_named(found, named_in(changelog, git("show", f"{ref}:CHANGELOG.md")))
    for each in found:
        print(f"{'BREAKS' if each in secret else 'named '}  {each}")
    print(f"Compared with {ref}: {len(found)} breaking changes, {len(secret)} of them not named in CHANGELOG.md.")
    if secret:
        print('Undo the breaking change, or name the operation under "### Breaking" in CHANGELOG.md, Unreleased.')
    return 1 if secret else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
