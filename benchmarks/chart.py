"""Draws the results as a chart."""

from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.comparing import CPU, FASTAPI, LIMIT, THROUGHPUT, Comparison

matplotlib.use("Agg")

COLOURS = {
    "this": "#1f6feb",
    "this-tokens": "#8ab4f8",
    "fastapi": "#009688",
    "express": "#68a063",
    "stock": "#c9a227",
    "limit": "#9aa0a6",
}
_OTHER = "#b07aa1"
_THICKNESS = 0.8


def draw(comparison: Comparison, path: Path) -> None:
    """Draws throughput and CPU of each work, relative to one contender each, as horizontal bars."""
    from matplotlib import pyplot

    works, contenders = comparison.works, comparison.contenders
    height = 1.8 + 0.22 * len(works) * max(1, len(contenders) - 1)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, height), sharey=True, layout="constrained")
    _panel(left, comparison, FASTAPI, THROUGHPUT, "Requests per second relative to FastAPI: right is faster")
    _panel(right, comparison, LIMIT, CPU, "CPU per request relative to the bare limit: left is less")
    left.set_yticks(range(len(works)), works)
    left.set_ylim(len(works) - 0.4, -0.6)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=COLOURS.get(name, _OTHER)) for name in contenders]
    figure.legend(handles, contenders, loc="outside lower center", ncols=len(contenders), frameon=False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _panel(axes: Any, comparison: Comparison, base: str, what: str, title: str) -> None:
    """Draws bars from ``base`` to the medians, with whiskers over all rounds, on a logarithmic scale."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.axvline(1.0, color="#444444", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    others = [name for name in comparison.contenders if name != base]
    thickness = _THICKNESS / max(1, len(others))
    for number, name in enumerate(others):
        for row, work in enumerate(comparison.works):
            found = comparison.ratio((name, work), (base, work), what)
            if found is None:
                continue
            place = row - _THICKNESS / 2 + (number + 0.5) * thickness
            whiskers = [[found.median - found.low], [found.high - found.median]]
            axes.barh(
                place, found.median - 1, thickness * 0.9, left=1, xerr=whiskers, color=COLOURS.get(name, _OTHER),
                error_kw={"elinewidth": 0.8, "ecolor": "#555555"},
            )  # fmt: skip
            axes.annotate(
                f"{found.median:.2f}", (max(1, found.high), place), xytext=(3, 0), textcoords="offset points",
                va="center", fontsize=7,
            )  # fmt: skip
    axes.margins(x=0.1)
    if not others or not any((base, work) in comparison.rounds for work in comparison.works):
        axes.text(0.5, 0.5, f"{base} was not measured", transform=axes.transAxes, ha="center")
