"""The code blocks of the docs run unchanged, or their marks say why they do not."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_core.conf.environment import ROOT
from platform_core.tools.commands import COMMANDS, OPTIONS
from platform_core.topology import BY_PACKAGE, SERVICES
from tests.e2e import blocks
from tests.e2e.blocks import NAMES, NEW_SERVICE, NOT_RUN, PART, PLATFORM, RUN, STARTED, Block
from tests.e2e.stack import Stack, eventually, ports_in, temporary_stack
from tests.suites import plain_environment

BLOCKS = blocks.blocks()
each_block = pytest.mark.parametrize("block", BLOCKS, ids=str)


class Platform:
    """A platform that starts empty, and what the blocks that were run on it have answered."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.desk = blocks.linked_desk(folder, stack.environment)
        self.answers: dict[Block, list[str]] = {}

    def enter(self, command: str) -> str:
        return self.desk.enter(ports_in(command, self.stack.ports))

    def run(self, block: Block) -> list[str]:
        """The output of each command of the block. A block is run once."""
        if block not in self.answers:
            self.answers[block] = [self.enter(command) for command in block.commands]
        return self.answers[block]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with temporary_stack() as stack:
        desk = stack.folder / "desk"
        desk.mkdir()
        yield Platform(stack.up(), desk)


@each_block
def test_a_block_says_how_it_is_tested(block):
    """Write a mark above it: `tests/e2e/blocks.py` lists them."""
    known = {
        RUN: block.detail in (PLATFORM, NEW_SERVICE, STARTED),
        PART: True,  # test_new_service.py compares it
        NAMES: block.detail == "files",
        NOT_RUN: len(block.detail.split()) >= 3,
    }
    assert known.get(block.kind), f"{block}: its mark is {block.kind!r}: {block.detail!r}"


def test_a_block_without_a_mark_would_be_noticed():
    text = "Then:\n\n```\nmake dev\n```\n\n   <!-- not run: it goes on -->\n   ```sh\n   make up  # x\n   ```\n"
    first, second = blocks.blocks_in(ROOT / "README.md", text)
    assert (first.kind, first.line, first.commands) == ("", 3, ["make dev"])
    assert (second.kind, second.detail, second.commands) == ("not run", "it goes on", ["make up"])
    assert len(BLOCKS) == sum(len(re.findall("^ *```", file.read_text(), re.M)) for file in blocks.FILES) // 2


def test_the_quick_start_gives_the_documented_answers(platform):
    """Runs first, while the platform is empty."""
    block = next(block for block in blocks.chosen(RUN, PLATFORM) if block.file.name == "README.md")
    user, product, order, _, _, health = map(json.loads, platform.run(block))
    assert (user["id"], user["name"], user["email"]) == ("1", "John Doe", "john@example.com")
    assert (product["id"], product["price"], product["stock"]) == ("1", 999.99, 50)
    assert (order["id"], order["status"], order["total"]) == ("1", "confirmed", 1999.98)
    assert (health["status"], health["mode"]) == ("ok", "development")

    notifications, summary = block.commands[3:5]

    def confirmation() -> Any:
        (sent,) = json.loads(platform.enter(notifications))["results"] or [{}]
        return sent.get("status") == "sent" and sent

    assert eventually("the confirmation is sent", confirmation)["type"] == "order_confirmed"
    figures = json.loads(platform.enter(summary))
    assert figures["stale"] == []
    assert (figures["users"]["total"], figures["products"]["stockUnits"]) == (1, 48)
    assert figures["orders"]["revenue"] == 1999.98
    for service in SERVICES:
        answer = json.loads(platform.enter(f"curl http://localhost:{service.port}/health"))
        assert (answer["status"], answer["service"]) == ("ok", service.name)


@pytest.mark.parametrize("block", blocks.chosen(RUN, PLATFORM), ids=str)
def test_every_command_of_a_block_succeeds(platform, block):
    assert platform.run(block)


@pytest.mark.parametrize("block", blocks.chosen(NAMES), ids=str)
def test_the_files_that_a_block_names_exist(block):
    assert blocks.unknown_names(block.text) == []


def test_a_file_that_does_not_exist_would_be_noticed():
    text = "platform_core/  the library\n  topology.py http/ nonsense.py\n<name>_svc/ tests/ nowhere/ e2e/stack.py"
    assert blocks.unknown_names(text) == ["nonsense.py", "nowhere/"]


@each_block
def test_the_make_targets_of_a_block_exist(block):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if block.kind not in (PART, NAMES):
        assert {target for command in block.commands for target in blocks.make_targets(command)} <= {*targets}


def _manage_commands() -> list[Any]:
    found = [(block, arguments) for block in BLOCKS for arguments in _arguments_in(block)]
    return [pytest.param(arguments, id=f"{block} {' '.join(arguments)}") for block, arguments in found]


def _arguments_in(block: Block) -> Iterator[list[str]]:
    if block.kind not in (PART, NAMES):
        yield from (arguments for command in block.commands if (arguments := blocks.manage_arguments(command)))


@pytest.mark.parametrize("arguments", _manage_commands())
def test_a_command_that_a_block_names_exists_and_has_these_options(arguments):
    command, *others = arguments
    options = [word.partition("=")[0] for word in others if word.startswith("-")]
    if command in COMMANDS:
        parser = argparse.ArgumentParser()
        OPTIONS.get(command, lambda parser: None)(parser)
        assert not [option for option in options if option not in parser.format_help()]
    elif command in BY_PACKAGE:
        said = subprocess.run(
            [sys.executable, "manage.py", command, "help", others[0]],
            cwd=ROOT,
            env=plain_environment(),
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr
        assert not [option for option in options if option not in said.stdout]
    else:  # of the service that docs/sixth-service.md makes, or of Django in a container that is one service
        assert command in ("reviews_svc", "createsuperuser")
