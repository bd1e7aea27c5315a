"""`unitrack show`: all there is to know about one run."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from unitrack.cli._output import Console, duration, emit, iso, json_option, size, store_option, styled, table
from unitrack.cli.runs import STYLES
from unitrack.model import plain
from unitrack.query import flat
from unitrack.reader import RunView, open_store

__all__ = ["command", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 24
_MOST_POINTS = 2_000_000  # a curve of more would make the command wait for seconds
_TEXT_WIDTH = 100
_MOST_FACTS = 24


@click.command()
@click.argument("run")
@store_option
@json_option
def command(*, run: str, directory: Path | None, as_json: bool) -> None:
    """Show one run: params, summary, metrics, artifacts, writers, and what is wrong with it.

    RUN is an id or its beginning. What is readable of a damaged run is shown, and its problems.
    """
    store = open_store(directory)
    view = store.run(store.resolve(run), salvage=True)
    emit(_record(view) if as_json else None, as_json=as_json, render=lambda console: _render(view, console))


def _record(view: RunView) -> dict[str, Any]:
    fields = (
        "id", "project", "name", "group", "parent", "status", "reason", "started", "ended", "tags", "tag_values",
        "metrics", "system",
        "artifacts", "datasets", "media", "alerts", "captures", "argv", "writers", "lost", "problems",
    )  # fmt: skip
    trees = {"params": plain(view.params), "summary": plain(view.summary)}
    return {"path": view.path, **{field: getattr(view, field) for field in fields}, **trees}


def _render(view: RunView, console: Console) -> None:
    _facts(view, console)
    _pairs("params", flat(view.params), console)
    _pairs("summary", [item for item in flat(view.summary) if item[0] not in view.metrics], console)
    _metrics(view, console)
    _artifacts(view, console)
    _writers(view, console)
    _pairs("captures", _capture_facts(view.captures), console)
    for alert in view.alerts:
        console.print(f"{alert.level}: {alert.title} {alert.text}".rstrip(), style="yellow")
    for problem in view.problems:
        console.print(f"problem: {problem}", style="bold red")


def _facts(view: RunView, console: Console) -> None:
    took = "" if view.ended is None else f" after {duration(view.ended - view.started)}"
    because = f": {view.reason}" if view.reason else ""
    tags = [*view.tags, *(f"{tag}={value}" for tag, value in view.tag_values.items())]
    facts = [
        ("name", view.name),
        ("project", view.project),
        ("status", styled(f"{view.status}{took}{because}", STYLES[view.status])),
        ("started", f"{iso(view.started)} ({console.when(view.started)})" if console.terminal else iso(view.started)),
        ("group", view.group),
        ("parent", view.parent),
        ("tags", ", ".join(tags) or None),
        ("command", " ".join(view.argv) or None),
        ("folder", view.path),
    ]
    console.print(table(["run", view.id], [fact for fact in facts if fact[1] is not None]))


def _capture_facts(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what collectors found; a long list, such as the installed packages, is only counted."""
    for name, value in tree.items():
        if isinstance(value, dict) and len(value) <= _MOST_FACTS:
            yield from _capture_facts(value, f"{prefix}{name}.")
        elif isinstance(value, (dict, list)):
            yield f"{prefix}{name}", f"{len(value)} entries (--json shows them)" if len(value) > _MOST_FACTS else value
        else:
            yield f"{prefix}{name}", value


def _pairs(title: str, pairs: Any, console: Console) -> None:
    rows = [(name, _short(value)) for name, value in pairs]
    if rows:
        _section(title, ["name", "value"], rows, console)


def _section(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], console: Console, right: Sequence[str] = ()
) -> None:
    console.print()
    console.print(title, style="bold")
    console.print(table(columns, rows, right=right))


def _short(value: object) -> object:
    if isinstance(value, (int, float)) or value is None:
        return value
    shown = str(value)
    return shown if len(shown) <= _TEXT_WIDTH else f"{shown[: _TEXT_WIDTH - 3]}..."


def _metrics(view: RunView, console: Console) -> None:
    for title, infos in (("metrics", view.metrics), ("system", view.system)):
        read = view.series if title == "metrics" else view.system_series
        drawn = sum(info.count for info in infos.values()) <= _MOST_POINTS and can_draw(sys.stdout.encoding)
        rows = [
            (
                name, info.count, info.last, info.min, info.max, info.goal,
                sparkline(read(name).values) if drawn else None,
            )
            for name, info in infos.items()
        ]  # fmt: skip
        if rows:
            columns = ["name", "count", "last", "min", "max", "goal", "curve"]
            _section(title, columns, rows, console, right=("count", "last", "min", "max"))


def _artifacts(view: RunView, console: Console) -> None:
    artifacts = [
        (each.name, each.kind, each.use, size(each.size), each.uri or (each.digest or "")[:19])
        for each in view.artifacts
    ]
    if artifacts:
        _section("artifacts", ["name", "kind", "use", "size", "digest or address"], artifacts, console, right=("size",))
    datasets = [
        (each.name, each.split, each.rows, each.version or (each.digest or "")[:19], each.uri) for each in view.datasets
    ]
    if datasets:
        _section("datasets", ["name", "split", "rows", "version", "address"], datasets, console, right=("rows",))
    media = [(each.name, each.kind, each.step, size(each.size), _short(each.caption)) for each in view.media]
    if media:
        _section("media", ["name", "kind", "step", "size", "caption"], media, console, right=("step", "size"))


def _writers(view: RunView, console: Console) -> None:
    rows = [
        (
            each.id, each.host, each.rank, each.role, styled(each.status, STYLES[each.status]),
            duration(each.ended - each.started), each.events, each.lost, "yes" if each.sealed else "no",
        )
        for each in view.writers
    ]  # fmt: skip
    if rows:
        columns = ["writer", "host", "rank", "role", "status", "took", "events", "lost", "sealed"]
        _section("writers", columns, rows, console, right=("rank", "took", "events", "lost"))


def can_draw(encoding: str | None) -> bool:
    """Tell whether an output of this encoding can show the bars of a curve."""
    try:
        _BARS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(values: Sequence[float], width: int = _SPARK_WIDTH) -> str:
    """Draw values in order as bars, at most `width`, each the mean of a stretch; a blank has no finite value."""
    count = min(width, len(values))
    edges = [len(values) * place // count for place in range(count + 1)] if count else [0]
    means = [_mean(values[low:high]) for low, high in itertools.pairwise(edges)]
    known = [mean for mean in means if mean is not None]
    if not known:
        return ""
    low, span = min(known), max(known) / 2 - min(known) / 2  # halves, for doubles can be further apart than any double
    return "".join(" " if mean is None else _bar((mean / 2 - low / 2) / span if span else 0.0) for mean in means)


def _bar(part: float) -> str:
    return _BARS[round(part * (len(_BARS) - 1))]


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(value / len(finite) for value in finite) if finite else None
