"""`unitrack runs`: list runs, newest first."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from unitrack.cli._output import Console, duration, emit, json_option, note, store_option, styled, table, text_of
from unitrack.model import plain
from unitrack.reader import RunStatus, RunView, runs

__all__ = ["STYLES", "command"]

STYLES: dict[RunStatus, str] = {"running": "cyan", "finished": "green", "failed": "red", "killed": "yellow"}
_SHOWN = 25
_METRICS = 4
_MANY = 200  # to read for the first time: less than half a second


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str | None
    project: str
    status: RunStatus
    group: str | None
    tags: tuple[str, ...]
    started: float
    ended: float | None
    params: Any
    """None if a journal is damaged."""
    summary: Any
    lost: int
    problems: tuple[str, ...]


@click.command()
@click.option("--project", metavar="NAME", help="Only runs of this project.")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(list(STYLES)),
    help="Only runs with this status; may be repeated.",
)
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Only runs with this tag; repeated: with all of them."
)
@click.option("--group", metavar="NAME", help="Only runs of this group.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help=f"At most N runs ({_SHOWN} unless --json).")
@store_option
@json_option
def command(
    *, project: str | None, status: tuple[str, ...], tags: tuple[str, ...], group: str | None, limit: int | None,
    directory: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """List runs, newest first."""
    with _reading() as progress:
        found = runs(project=project, status=status or None, tags=tags, group=group, dir=directory, progress=progress)
    shown = found[: limit or (len(found) if as_json else _SHOWN)]
    records = [_record(view) for view in shown]
    emit(records, as_json=as_json, render=lambda console: _render(records, len(found), console))


@contextmanager
def _reading() -> Iterator[Callable[[int, int], None]]:
    """Give a callback that tells on a terminal how the reading of many runs goes on."""
    told = False

    def tell(done: int, total: int) -> None:
        nonlocal told
        if total >= _MANY and sys.stderr.isatty() and (done % 50 == 0 or done == total):
            told = True
            click.echo(f"\rreading runs: {done:,} of {total:,}", nl=False, err=True)

    yield tell
    if told:
        click.echo("\r\x1b[2K", nl=False, err=True)


def _record(view: RunView) -> _Record:
    return _Record(
        id=view.id, name=view.name, project=view.project, status=view.status, group=view.group, tags=view.tags,
        started=view.started, ended=view.ended, lost=view.lost, problems=view.problems,
        params=None if view.damaged else plain(view.params), summary=None if view.damaged else plain(view.summary),
    )  # fmt: skip


def _render(records: Sequence[_Record], total: int, console: Console) -> None:
    if not records:
        note("no runs: `unitrack init` shows how to log the first one, or no run fits the filters")
        return
    columns = ["run", "name", "project", "status", "started", "took"]
    rows = [_cells(record, console) for record in records]
    if not any(record.name for record in records):
        columns, rows = [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
    used = sum(2 + max(len(text_of(cell)) for cell in column) for column in zip(columns, *rows, strict=True))
    metrics = _common_metrics(records, console.width - used if console.terminal else sys.maxsize)
    for row, record in zip(rows, records, strict=True):
        row += [(record.summary or {}).get(name) for name in metrics]
    console.print(table([*columns, *metrics], rows, right=("took", *metrics)))
    if total > len(records):
        note(f"{len(records)} of {total:,} runs: --limit shows more")
    troubled = sum(bool(record.problems) for record in records)
    if troubled:
        note(f"{troubled} marked ! have problems: `unitrack show RUN` tells which")


def _cells(record: _Record, console: Console) -> list[object]:
    took = None if record.ended is None else duration(record.ended - record.started)
    status = styled(record.status + (" !" if record.problems else ""), STYLES[record.status])
    return [record.id, record.name, record.project, status, console.when(record.started), took]


def _common_metrics(records: Sequence[_Record], room: int) -> list[str]:
    """Return the numbers most runs have, as many as fit into `room` characters, one at least."""
    found = Counter(
        name
        for record in records
        for name, value in (record.summary or {}).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    )
    ranked = sorted(found, key=lambda name: (-found[name], not name.startswith(("val", "test", "eval")), name))
    chosen: list[str] = []
    for name in ranked[:_METRICS]:
        room -= max(len(name), 10) + 2
        if room >= 0 or not chosen:
            chosen.append(name)
    return chosen
