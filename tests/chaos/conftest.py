"""`python -m tests chaos [--minutes N] [--seed N]`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, default=0.5, help="how long the load and the killing go on")
    parser.addoption("--seed", type=int, default=20, help="who is killed when; the same seed does the same again")
