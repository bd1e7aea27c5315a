"""What the commands print: one set of data, three faces.

A command gathers its data first, then hands it over once:

    @click.command()
    @json_option
    def command(*, as_json: bool) -> None:
        rows = [...]

        def render(console: Console) -> None:
            console.print(table(["run", "status", "started"], [
                (row.id, styled(row.status, "green"), console.when(row.started)) for row in rows
            ]))
            console.print("3 runs", style="dim")

        emit(rows, as_json=as_json, render=render)

With `--json` the data is printed as JSON and `render` is not called. On a terminal the console
writes through rich; in a pipe it writes plain aligned text: no colour, no boxes, no wrapping,
every row one line. rich is imported only on a terminal. Cells may be any value: None becomes
`-`, floats get six digits, control characters (a run's name may hold any) are shown escaped.

Notes to people go to stderr through `note`, so that stdout stays what was asked for.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

import click
import msgspec

from unitrack.model import metric_value, plain

if TYPE_CHECKING:  # costs 50 ms, and a pipe needs none of it
    import rich.console
    import rich.table
    import rich.text

__all__ = [
    "Cell",
    "Console",
    "Table",
    "ago",
    "console_for",
    "duration",
    "emit",
    "iso",
    "json_option",
    "note",
    "size",
    "store_option",
    "styled",
    "table",
    "text_of",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STEPS = ((60.0, 1, "s"), (3600.0, 60, "min"), (86400.0, 3600, "h"), (math.inf, 86400, "d"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A value with a rich style (`"green"`, `"bold red"`), which a pipe ignores."""

    value: object
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under column titles; `right` names the columns that hold numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    title: str | None = None
    right: frozenset[str] = frozenset()


class Console(Protocol):
    """Where `render` writes to. `terminal` tells whether a person reads it."""

    terminal: bool
    width: int

    def print(self, item: object = "", *, style: str | None = None) -> None:
        """Write a text or a `table`, and end the line."""
        ...

    def when(self, moment: float | None) -> str:
        """Return an epoch time as `2 min ago` for a person and as ISO 8601 for a pipe."""
        ...


def emit(data: Any, *, as_json: bool, render: Callable[[Console], None]) -> None:
    """Print `data` as JSON, or have `render` write it for the reader of stdout.

    `data` may hold structs, dataclasses, paths and arrays. Non-finite numbers become `"NaN"`,
    `"Infinity"` and `"-Infinity"`, as in a journal.
    """
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(_words(data)), indent=2))
    else:
        render(console_for(sys.stdout))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Iterable[str] = (),
) -> Table:
    """Make a table for `console.print`; each row has one value for each column."""
    found = tuple(tuple(row) for row in rows)
    for row in found:
        if len(row) != len(columns):
            raise ValueError(f"a row has {len(row)} cells for {len(columns)} columns: {row!r:.200}")
    return Table(columns=tuple(columns), rows=found, title=title, right=frozenset(right))


def styled(value: object, style: str) -> Cell:
    """Give a cell of a table a style."""
    return Cell(value=value, style=style)


def json_option(command: _Command) -> _Command:
    """Add `--json` to a command, handed over as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def store_option(command: _Command) -> _Command:
    """Add `--dir` to a command, handed over as `directory`."""
    return click.option(
        "--dir",
        "directory",
        metavar="STORE",
        type=click.Path(path_type=Path),
        help="The store; the project's own unless given.",
    )(command)


def note(message: str) -> None:
    """Tell the person something on stderr that is no part of the result."""
    click.echo(message, err=True)


def console_for(stream: IO[str], *, now: float | None = None) -> Console:
    """Return the console for a stream; `now` (epoch seconds) fixes what ages are counted from."""
    return _Terminal(stream, now=time.time() if now is None else now) if stream.isatty() else _Plain(stream)


def iso(moment: float | None) -> str:
    """Return an epoch time as ISO 8601 in UTC, to the second; `-` for None."""
    return "-" if moment is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def ago(moment: float | None, *, now: float) -> str:
    """Return how long before `now` an epoch time was: `just now`, `2 min ago`; ISO when it is to come."""
    if moment is None or moment > now + 1:
        return iso(moment)
    return "just now" if now - moment < 1 else f"{duration(now - moment)} ago"


def duration(seconds: float | None) -> str:
    """Return a time span in its largest unit: `12 s`, `2 min`, `3 h`, `5 d`; `-` for None."""
    if seconds is None or math.isnan(seconds):
        return "-"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    unit = next((divisor, name) for below, divisor, name in _STEPS if abs(seconds) < below)
    return f"{int(seconds / unit[0])} {unit[1]}"


def size(amount: float | None) -> str:
    """Return bytes as people read them: `512 B`, `1.5 MB` (powers of 1000); `-` for None."""
    if amount is None:
        return "-"
    power = min(len(str(int(abs(amount)))) - 1, 14) // 3
    return f"{amount / 1000**power:.1f} {'kMGT'[power - 1]}B" if power else f"{amount:.0f} B"


def text_of(value: object) -> str:
    """Return a cell's value as one line of text without control characters."""
    value = value.value if isinstance(value, Cell) else value
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return shown if shown.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def _words(data: Any) -> Any:
    """Return builtins with non-finite numbers in words: JSON has none, and null would hide them."""
    if isinstance(data, float):
        return data if math.isfinite(data) else metric_value(data)
    if data is None or isinstance(data, (str, int)):
        return data
    if isinstance(data, Mapping):
        return {str(key): _words(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_words(value) for value in data]
    tree = msgspec.to_builtins(data, str_keys=True, enc_hook=plain)
    return _words(tree) if isinstance(tree, (float, dict, list, tuple)) else tree


def _visible(text: str) -> str:
    """Keep the line ends of a message and escape every other control character."""
    return "\n".join(text_of(line) for line in text.split("\n"))


class _Plain:
    """A pipe or a file: the same text whoever reads it."""

    terminal = False

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.width = shutil.get_terminal_size((120, 24)).columns

    def print(self, item: object = "", *, style: str | None = None) -> None:
        lines = _plain_table(item) if isinstance(item, Table) else [_visible(str(item))]
        for line in lines:
            click.echo(line, file=self._stream)

    def when(self, moment: float | None) -> str:
        return iso(moment)


def _plain_table(data: Table) -> list[str]:
    rows = [data.columns, *(tuple(map(text_of, row)) for row in data.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (
        "  ".join(
            cell.rjust(width) if name in data.right else cell.ljust(width)
            for name, cell, width in zip(data.columns, row, widths, strict=True)
        ).rstrip()
        for row in rows
    )
    return [*([data.title] if data.title else []), *aligned]


class _Terminal:
    """A person's terminal, through rich."""

    terminal = True

    def __init__(self, stream: IO[str], *, now: float) -> None:
        import rich.console

        self._console = rich.console.Console(file=stream, highlight=False, markup=False, emoji=False)
        self._now = now
        self.width = self._console.width

    def print(self, item: object = "", *, style: str | None = None) -> None:
        if isinstance(item, Table):
            self._console.print(_rich_table(item))
        else:
            self._console.print(_visible(str(item)), style=style, soft_wrap=True)

    def when(self, moment: float | None) -> str:
        return ago(moment, now=self._now)


def _rich_table(data: Table) -> rich.table.Table:
    import rich.table

    made = rich.table.Table(title=data.title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in data.columns:
        made.add_column(name, justify="right" if name in data.right else "left", overflow="fold")
    for row in data.rows:
        made.add_row(*map(_rich_cell, row))
    return made


def _rich_cell(value: object) -> rich.text.Text:
    import rich.text

    return rich.text.Text(text_of(value), style=value.style if isinstance(value, Cell) else "")
