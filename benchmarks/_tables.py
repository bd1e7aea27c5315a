"""Results as tables: for people in a terminal or a pipe, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Sheet", "as_markdown", "show", "tables"]

Result = Mapping[str, Any]
_PLAIN_WIDTH = 220
_ERROR = 80  # characters of a failure that a table shows; the JSON file has more


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One table: cells are text already."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(results: Mapping[str, Any]) -> Iterator[Sheet]:
    """Yield the tables of all scenarios that were run."""
    for name, found in results["scenarios"].items():
        if name == "own":
            yield _own(found)
        else:
            yield from _SHEETS[name](found, results["tools"])


# -- one sheet a scenario --------------------------------------------------------------------------


def _latency_sheets(title: str, found: Result, tools: Result) -> Iterator[Sheet]:
    columns = (
        "tool", "calls", "p50 us", "p99 us", "mean us", "max us", "p50 / R2", "lowest-highest round", "p99 / R2",
        "mean / R2", "R2 p50 us", "R2 p99 us", "R2 alone p50 us", "p50 / R2 alone",
    )  # fmt: skip
    for key, words in (("one", "one metric"), ("ten", "ten metrics")):
        rows = _rows(found, tools, columns, lambda result, key=key: _latency_row(result[key]))
        yield Sheet(title=f"{title}, {words}", note=_LATENCY_NOTE, columns=columns, rows=rows)


_LATENCY_NOTE = (
    "R2 = the same event through orjson and one write(2), timed in the same process in alternating rounds; "
    "medians of ten rounds, the greatest maximum. R2 alone = before the tool was imported."
)


def _latency_row(result: Result) -> list[str]:
    tool, r2, ratio, alone = result["tool"], result["r2"], result["ratio"], result["r2_alone"]
    return [
        f"{result['calls']:,}", *(_short(tool[key]) for key in ("p50", "p99", "mean", "max")), _times(ratio["p50"]),
        f"{_short(ratio['p50_low'])}-{_short(ratio['p50_high'])}", _times(ratio["p99"]), _times(ratio["mean"]),
        _short(r2["p50"]), _short(r2["p99"]), _short(alone["p50"]), _times(tool["p50"] / alone["p50"]),
    ]  # fmt: skip


def _latency(found: Result, tools: Result) -> Iterator[Sheet]:
    yield from _latency_sheets("A call, back to back", found, tools)
    columns = ("tool", "import s", "init s")
    rows = _rows(found, tools, columns, lambda result: [_short(result["import_s"]), _short(result["init_s"])])
    yield Sheet(title="Import and init", note="Once a process.", columns=columns, rows=rows)


def _busy(found: Result, tools: Result) -> Iterator[Sheet]:
    yield from _latency_sheets("A call after 1 ms of work that holds the GIL", found, tools)


def _volume(found: Result, tools: Result) -> Iterator[Sheet]:
    columns = (
        "tool", "calls", "readable after", "seconds", "of it finish", "points/s", "CPU s / million points",
        "MB grown / million events", "bytes / point",
    )  # fmt: skip
    for key, words in (("one", "one metric a call"), ("ten", "ten metrics a call")):
        width = {name: result.get(key, result) for name, result in found.items()}
        rows = _rows(width, tools, columns, _volume_row)
        note = "From init to finish. CPU counts child processes; MB grown is the training process's resident memory."
        yield Sheet(title=f"End to end, {words}", note=note, columns=columns, rows=rows)


def _volume_row(result: Result) -> list[str]:
    return [
        f"{result['calls']:,}", _cell(result["kept"]), _short(result["seconds"]), _short(result["finish_s"]),
        f"{result['points_per_s']:,.0f}",
        _short(result["cpu_s_per_million"]), _short(result["rss_growth_per_million_events"] / 1e6),
        _short(result["bytes_per_point"]),
    ]  # fmt: skip


def _kill(found: Result, tools: Result) -> Iterator[Sheet]:
    columns = ("tool", "logged", "left", "lost %", "remark")
    rows = _rows(found, tools, columns, _kill_row)
    note = "SIGKILL of the whole process tree right after the last call returned; read with the tool's own reader."
    yield Sheet(title="What a killed process leaves", note=note, columns=columns, rows=rows)


def _kill_row(result: Result) -> list[str]:
    calls, left = result["calls"], result["left"]
    return [f"{calls:,}", f"{left:,}", f"{(calls - left) / calls:.2%}", result.get("unreadable", "")]


def _own(found: Result) -> Sheet:
    rows = []
    for scenario, result in found.items():
        rows += [(scenario.replace("_", " "), key, _cell(value)) for key, value in result.items()]
    return Sheet(
        title="unitrack alone", note="Limits: import adds at most 50 ms, init takes at most 50 ms, nothing is lost.",
        columns=("scenario", "figure", "value"), rows=tuple(rows),
    )  # fmt: skip


_SHEETS: Mapping[str, Callable[[Result, Result], Iterator[Sheet]]] = {
    "latency": _latency,
    "busy": _busy,
    "volume": _volume,
    "kill": _kill,
}


# -- cells -----------------------------------------------------------------------------------------


def _rows(
    found: Result, tools: Result, columns: Sequence[str], cells: Callable[[Result], list[str]]
) -> tuple[tuple[str, ...], ...]:
    """Return a row a tool; one that is missing or failed has a row that says so."""
    rows = []
    for name, result in found.items():
        title = tools[name]["title"]
        if "missing" in result:
            row = [title, f"missing: {result['missing']}"]
        elif "error" in result:
            row = [title, f"failed: {result['error'][:_ERROR]}"]
        else:
            row = [title, *cells(result)]
        rows.append(tuple(row + [""] * (len(columns) - len(row))))
    return tuple(rows)


def _short(number: float) -> str:
    """Return three digits that count, with separators for large numbers."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return _short(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


# -- output ----------------------------------------------------------------------------------------


def show(sheet: Sheet) -> None:
    """Print a table: boxed on a terminal, plain columns in a pipe."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    table = Table(title=sheet.title, caption=sheet.note, box=Table().box if console.is_terminal else None)
    for number, column in enumerate(sheet.columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in sheet.rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def as_markdown(results: Mapping[str, Any]) -> str:
    """Return all tables as Markdown, the machine's facts first."""
    machine = results["machine"]
    parts = ["; ".join(f"{key}: {value}" for key, value in machine.items()) + f". Made {results['made']}."]
    versions = (f"{tool['title']} {tool['version']}" for tool in results["tools"].values() if tool["version"])
    parts.append("Versions: " + ", ".join(versions) + ".")
    return "\n\n".join([*parts, *map(_markdown, tables(results))]) + "\n"


def _markdown(sheet: Sheet) -> str:
    lines = [f"### {sheet.title}", "", sheet.note, "", _line(sheet.columns), _line(["---"] * len(sheet.columns))]
    return "\n".join([*lines, *map(_line, sheet.rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
