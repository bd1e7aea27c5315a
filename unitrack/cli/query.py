"""`unitrack query`: ask the store in SQL."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from unitrack.cli._output import Console, emit, json_option, note, store_option, table
from unitrack.errors import UsageError
from unitrack.model import plain
from unitrack.query import QueryResult, query

__all__ = ["command"]


@click.command(epilog="Example: unitrack query \"SELECT id, summary->>'$.loss' AS loss FROM runs ORDER BY started\"")
@click.argument("sql")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@store_option
@json_option
def command(*, sql: str, as_csv: bool, directory: Path | None, as_json: bool) -> None:
    """Run one SQL statement that reads; `-` takes it from stdin.

    \b
    runs       id project name group parent status reason started ended
               duration tags params summary lost problems
    params     run name value
    tags       run tag value
    metrics    run writer seq time step name value
    artifacts  run writer seq time name kind digest size use uri
    events     run writer seq time type json
    """  # noqa: D301 - \b is click's mark for text not to be wrapped
    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other")
    result = query(sys.stdin.read() if sql == "-" else sql, directory)
    for problem in result.problems:
        note(f"left out: {problem}")
    if as_csv:
        _print_csv(result)
    else:
        emit(_records(result) if as_json else None, as_json=as_json, render=lambda console: _render(result, console))


def _records(result: QueryResult) -> list[dict[str, Any]]:
    names = _distinct(result.columns)
    return [dict(zip(names, map(plain, row), strict=True)) for row in result.rows]


def _distinct(columns: Sequence[str]) -> list[str]:
    """Number columns of the same name, which an object can't hold twice."""
    seen: Counter[str] = Counter()
    names = []
    for column in columns:
        seen[column] += 1
        names.append(column if seen[column] == 1 else f"{column}_{seen[column]}")
    return names


def _print_csv(result: QueryResult) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows(_cells(row) for row in result.rows)


def _render(result: QueryResult, console: Console) -> None:
    rows = [_cells(row) for row in result.rows]
    right = [
        name
        for place, name in enumerate(result.columns)
        if any(type(row[place]) in (int, float) for row in result.rows)
    ]
    console.print(table(result.columns, rows, right=right))
    note(f"{len(rows):,} rows" if len(rows) != 1 else "1 row")


def _cells(row: Iterable[Any]) -> list[object]:
    return [msgspec.json.encode(plain(value)).decode() if isinstance(value, (list, dict)) else value for value in row]
