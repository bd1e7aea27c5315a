"""Ask a store in SQL, through DuckDB (`pip install "unitrack[query]"`).

    import unitrack.query
    unitrack.query.query("SELECT name, max(value) FROM metrics GROUP BY name").rows

The tables; times are epoch seconds, `run` is a run's id:

    runs       id project name group parent status reason started ended duration tags params summary lost problems
    params     run name value                    nested names with dots, values as text
    tags       run tag value                     value of tags that carry text
    metrics    run writer seq time step name value
    artifacts  run writer seq time name kind digest size use uri
    events     run writer seq time type json     every line of every journal

`metrics`, `artifacts` and `events` read the journals themselves, and only when they are named. Lines
that are no events (torn tails, damage) are left out; damage is told in the result's `problems`.
Statements can read the store and nothing else.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.errors import UsageError
from unitrack.journal import layout
from unitrack.model import plain
from unitrack.reader import RunView, Store, open_store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["TABLES", "QueryResult", "flat", "query"]

_READ_ONLY = {"SELECT", "EXPLAIN", "MULTI"}  # MULTI is PIVOT
_FILES = {"metrics", "artifacts", "events"}

# Run and writer are where the journal lies: <store>/runs/<run>/journal/<writer>.jsonl
_PLACE = "parse_path(filename)[-3] AS run, parse_path(filename)[-1][:-7] AS writer"

_VIEWS = {
    "events": """SELECT {place}, CAST(json->>'$.seq' AS BIGINT) AS seq, CAST(json->>'$.time' AS DOUBLE) AS time,
        json->>'$.type' AS type, json
        FROM read_ndjson_objects({files}, filename=true, ignore_errors=true) WHERE json->>'$.seq' IS NOT NULL""",
    "metrics": """SELECT run, writer, seq, time, step, entry.key AS name,
        CASE entry.value WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE TRY_CAST(entry.value AS DOUBLE) END AS value
        FROM (SELECT {place}, seq, time, step, unnest(map_entries("values")) AS entry
        FROM read_json({files}, format='newline_delimited', filename=true, ignore_errors=true,
        columns={{type: 'VARCHAR', seq: 'BIGINT', time: 'DOUBLE', step: 'DOUBLE', 'values': 'MAP(VARCHAR, VARCHAR)'}})
        WHERE type = 'metrics' AND seq IS NOT NULL)""",
    "artifacts": """SELECT {place}, seq, time, name, kind, digest, size, coalesce(use, 'output') AS use, uri
        FROM read_json({files}, format='newline_delimited', filename=true, ignore_errors=true,
        columns={{type: 'VARCHAR', seq: 'BIGINT', time: 'DOUBLE', name: 'VARCHAR', kind: 'VARCHAR', digest: 'VARCHAR',
        size: 'BIGINT', use: 'VARCHAR', uri: 'VARCHAR'}}) WHERE type = 'artifact' AND seq IS NOT NULL""",
}
_PLACELESS = "'' AS run, '' AS writer, 0::BIGINT AS seq, 0::DOUBLE AS time"
_EMPTY = {
    "events": f"{_PLACELESS}, '' AS type, NULL::JSON AS json",
    "metrics": f"{_PLACELESS}, 0::DOUBLE AS step, '' AS name, 0::DOUBLE AS value",
    "artifacts": f"{_PLACELESS}, '' AS name, '' AS kind, '' AS digest, 0::BIGINT AS size, '' AS use, '' AS uri",
}
_COLUMNS: dict[str, dict[str, Any]] = {
    "runs": {
        "id": "VARCHAR", "project": "VARCHAR", "name": "VARCHAR", "group": "VARCHAR", "parent": "VARCHAR",
        "status": "VARCHAR", "reason": "VARCHAR", "started": "DOUBLE", "ended": "DOUBLE", "duration": "DOUBLE",
        "tags": ["VARCHAR"], "params": "JSON", "summary": "JSON", "lost": "BIGINT", "problems": ["VARCHAR"],
    },
    "params": {"run": "VARCHAR", "name": "VARCHAR", "value": "VARCHAR"},
    "tags": {"run": "VARCHAR", "tag": "VARCHAR", "value": "VARCHAR"},
}  # fmt: skip

TABLES = (*_COLUMNS, *_VIEWS)
"""The names of the tables."""


class QueryResult(msgspec.Struct, frozen=True, kw_only=True):
    """Rows under column names; `problems` tell what could not be read."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    problems: tuple[str, ...] = ()


def query(sql: str, dir: Path | str | None = None) -> QueryResult:
    """Run one reading SQL statement over the store `dir` (the configured one).

    Raises UsageError for SQL that is wrong or does more than read, and without DuckDB.
    """
    try:
        import duckdb
    except ImportError as error:
        raise UsageError(
            f'SQL over runs needs a package that is not installed ({error}): pip install "unitrack[query]"'
        ) from error
    store = open_store(dir)
    with closing(duckdb.connect(config={"temp_directory": _scratch()})) as database:
        try:
            tables = _tables(database, sql)
            problems = _fill(database, store, tables)
            _lock(database, store.root)
            cursor = database.execute(sql)
            columns = tuple(column[0] for column in cursor.description or ())
            return QueryResult(columns=columns, rows=cursor.fetchall(), problems=tuple(problems))
        except duckdb.Error as error:
            raise UsageError(f"{error}\nThe tables are {', '.join(TABLES)}") from error


def _scratch() -> str:
    return os.path.join(tempfile.gettempdir(), f"unitrack-query-{os.getpid()}")


def _tables(database: DuckDBPyConnection, sql: str) -> set[str]:
    """Return the tables a statement names; all if it names none, for it may list them."""
    import duckdb

    statements = database.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError(f"one SQL statement at a time, these are {len(statements)}")
    kind = statements[0].type.name
    if kind not in _READ_ONLY:
        raise UsageError(f"a query reads, this is {kind}: what was logged is not changed by SQL")
    try:
        named = database.get_table_names(sql)
    except duckdb.Error:  # PIVOT becomes several statements, of which it can't tell
        named = set()
    return {name.lower() for name in named} & {*TABLES} or {*TABLES}


def _lock(database: DuckDBPyConnection, root: Path) -> None:
    """Keep statements to the files of the store: no network, no other file, no new extension."""
    places = ", ".join({_quoted(str(root.absolute())), _quoted(_escaped(root))})
    for setting in (
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        f"allowed_directories = [{places}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        database.execute(f"SET {setting}")


# -- filling -----------------------------------------------------------------------------------------


def _fill(database: DuckDBPyConnection, store: Store, tables: set[str]) -> list[str]:
    """Make the tables; return what can't be read of the runs they are about."""
    rows = store.rows()
    made: dict[str, Callable[[RunView], Iterable[Mapping[str, Any]]]] = {
        "runs": _run_rows, "params": _param_rows, "tags": _tag_rows,
    }  # fmt: skip
    runs = layout.runs_dir(store.root)
    views = [RunView(runs / row.id, salvage=True, header=row.header) for row in rows] if tables & made.keys() else []
    for table in tables & made.keys():
        _load(database, table, [record for view in views for record in made[table](view)])
    for table in tables & _VIEWS.keys():
        _create_view(database, table, _files(store.root) if rows else None)
    damaged = [RunView(runs / row.id, header=row.header) for row in rows if row.damaged] if tables & _FILES else []
    return [f"run {view.id}: {problem}" for view in damaged for problem in view.problems]


def _load(database: DuckDBPyConnection, table: str, records: list[Mapping[str, Any]]) -> None:
    columns = _COLUMNS[table]
    names = ", ".join(f'record."{name}"' for name in columns)
    shape = msgspec.json.encode([columns]).decode()
    database.execute(
        f"CREATE TABLE {table} AS SELECT {names} FROM (SELECT unnest(from_json($data::JSON, $shape)) AS record)",  # noqa: S608 - our names
        {"data": msgspec.json.encode(records).decode(), "shape": shape},
    )


def _create_view(database: DuckDBPyConnection, table: str, files: str | None) -> None:
    body = f"SELECT {_EMPTY[table]} WHERE false" if files is None else _VIEWS[table].format(place=_PLACE, files=files)
    database.execute(f"CREATE VIEW {table} AS {body}")


def _files(root: Path) -> str:
    return _quoted(f"{_escaped(root)}/runs/*/journal/*.jsonl")


def _escaped(root: Path) -> str:
    """Return the path as a pattern that matches only itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(root.absolute()))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- records -----------------------------------------------------------------------------------------


def _run_rows(view: RunView) -> Iterator[dict[str, Any]]:
    yield {
        "id": view.id, "project": view.project, "name": view.name, "group": view.group, "parent": view.parent,
        "status": view.status, "reason": view.reason, "started": view.started, "ended": view.ended,
        "duration": None if view.ended is None else view.ended - view.started, "tags": view.tags,
        "params": plain(view.params), "summary": plain(view.summary), "lost": view.lost, "problems": view.problems,
    }  # fmt: skip


def _param_rows(view: RunView) -> Iterator[dict[str, Any]]:
    for name, value in flat(view.params):
        yield {"run": view.id, "name": name, "value": _text(value)}


def _text(value: Any) -> str:
    """Return text as it is, all else as JSON, non-finite numbers by their names."""
    spelled = value if isinstance(value, str) else plain(value)
    return spelled if isinstance(spelled, str) else msgspec.json.encode(spelled).decode()


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a tree under dotted names."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _tag_rows(view: RunView) -> Iterator[dict[str, Any]]:
    for tag in view.tags:
        yield {"run": view.id, "tag": tag, "value": None}
    for tag, value in view.tag_values.items():
        yield {"run": view.id, "tag": tag, "value": value}
