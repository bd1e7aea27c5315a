"""`unitrack compare`: put runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from unitrack.cli._output import Console, duration, emit, json_option, note, store_option, styled, table
from unitrack.errors import UsageError
from unitrack.query import flat
from unitrack.reader import RunView, open_store

__all__ = ["command"]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing and its value in each run. `best` are the places of the best values by the metric's goal."""

    name: str
    values: tuple[Any, ...]
    goal: str | None = None
    best: tuple[int, ...] = ()

    @property
    def differs(self) -> bool:
        return any(repr(value) != repr(self.values[0]) for value in self.values)


class _Comparison(msgspec.Struct, frozen=True, kw_only=True):
    runs: tuple[str, ...]
    facts: tuple[_Line, ...]
    params: tuple[_Line, ...]
    metrics: tuple[_Line, ...]
    hidden: int
    """Params that are equal in all runs and were not asked for."""


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--all", "everything", is_flag=True, help="Also show params that are equal.")
@store_option
@json_option
def command(*, runs: tuple[str, ...], everything: bool, directory: Path | None, as_json: bool) -> None:
    """Put runs side by side: the params that differ, and the metrics with the best by their goal."""
    if len(runs) < 2:
        raise UsageError("a comparison needs two runs or more: `unitrack runs` lists them")
    store = open_store(directory)
    views = [store.run(store.resolve(run)) for run in runs]
    found = _compare(views, everything=everything)
    emit(found, as_json=as_json, render=lambda console: _render(found, console))


def _compare(views: Sequence[RunView], *, everything: bool) -> _Comparison:
    params = _lines([dict(flat(view.params)) for view in views])
    differing = [line for line in params if line.differs]
    equal = [line for line in params if not line.differs]
    return _Comparison(
        runs=tuple(view.id for view in views),
        facts=tuple(line for line in _facts(views) if line.differs or line.name == "status" or everything),
        params=(*differing, *(equal if everything else ())),
        metrics=tuple(_judged(line, views) for line in _lines([dict(flat(view.summary)) for view in views])),
        hidden=0 if everything else len(equal),
    )


def _facts(views: Sequence[RunView]) -> list[_Line]:
    return _lines(
        [
            {
                "name": view.name, "project": view.project, "status": view.status, "group": view.group,
                "tags": ", ".join(view.tags),
                "took": duration(None if view.ended is None else view.ended - view.started),
                "commit": view.captures.get("git", {}).get("commit"),
            }
            for view in views
        ]
    )  # fmt: skip


def _lines(sides: Sequence[Mapping[str, Any]]) -> list[_Line]:
    names = dict.fromkeys(name for side in sides for name in side)
    return [_Line(name=name, values=tuple(side.get(name) for side in sides)) for name in names]


def _judged(line: _Line, views: Sequence[RunView]) -> _Line:
    goals = {view.metrics[line.name].goal for view in views if line.name in view.metrics} - {None}
    numbers = [value for value in line.values if isinstance(value, (int, float)) and value == value]
    if len(goals) != 1 or not numbers:
        return line
    goal = goals.pop()
    top = max(numbers) if goal == "maximize" else min(numbers)
    best = tuple(place for place, value in enumerate(line.values) if value == top) if line.differs else ()
    return msgspec.structs.replace(line, goal=goal, best=best)


def _render(found: _Comparison, console: Console) -> None:
    rows = [
        *(_row(line, "") for line in found.facts),
        *(_row(line, "yellow" if line.differs else "dim") for line in found.params),
    ]
    console.print(table(["", *_titles(found.runs)], rows))
    if found.metrics:
        console.print()
        console.print(table(["metric", "goal", *_titles(found.runs)], [_metric_row(line) for line in found.metrics]))
    if found.hidden:
        note(f"{found.hidden} params are equal: --all shows them")


def _titles(runs: Sequence[str]) -> list[str]:
    """Return column titles; the same run may be named twice."""
    return [run if runs.count(run) == 1 else f"{run} ({place})" for place, run in enumerate(runs, 1)]


def _row(line: _Line, style: str) -> list[object]:
    return [line.name, *(styled(value, style) for value in line.values)]


def _metric_row(line: _Line) -> list[object]:
    shown: list[object] = []
    for place, value in enumerate(line.values):
        text = f"{value:.6g}" if isinstance(value, float) else value
        shown.append(styled(f"{text} *", "bold green") if place in line.best else text)
    return [line.name, line.goal or "", *shown]
