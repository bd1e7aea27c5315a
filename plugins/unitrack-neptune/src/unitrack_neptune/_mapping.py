"""Events to operations of Neptune's. Pure: no clock, no file, no network, no client.

What becomes of what is told in the README's table; every loss is a lowering.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from unitrack import events
from unitrack.lowering import Policy
from unitrack_neptune._draft import Draft, digest8, mime_type
from unitrack_neptune._plan import Bins, Upload

if TYPE_CHECKING:
    from unitrack.backend import Record, RunInfo
    from unitrack.events import FinalStatus

__all__ = ["KINDS", "ending", "flatten", "head", "to_ops"]

_ANY: tuple[Policy, ...] = ("sanitize", "skip", "fail")

KINDS: Mapping[str, tuple[Policy, ...]] = {
    "name": _ANY,
    "step": _ANY,
    "no-step": _ANY,
    "step-digits": ("sanitize", "fail"),
    "time": ("sanitize", "fail"),
    "non-finite": _ANY,
    "precision": ("sanitize", "fail"),
    "int-range": _ANY,
    "param-type": _ANY,
    "text-length": ("artifact", "sanitize", "skip", "fail"),
    "histogram": ("artifact", "skip", "fail"),
    "artifact-version": ("sanitize", "fail"),
    "event": ("sanitize", "fail"),
}


def to_ops(draft: Draft, record: Record, *, started: float) -> None:
    """Add what becomes of a record; `started` is the run's start in epoch seconds. Raises RefusedError."""
    event = record.event
    if isinstance(event, events.Metrics):
        for name, value in event.values.items():
            draft.number(f"metrics/{name}", event.step, event.time, value)
    elif isinstance(event, events.System):
        prefix = f"system/rank{record.rank}" if record.rank else "system"
        for name, value in event.values.items():
            draft.number(f"{prefix}/{name}", max(0.0, round(event.time - started, 3)), event.time, value)
    else:
        _HANDLERS.get(type(event), _other)(draft, record, event)


def head(draft: Draft, run: RunInfo) -> None:
    """Add who the run is. Setting it again changes nothing."""
    about = {"run_id": run.id, "project": run.project, "group": run.group, "parent": run.parent, "name": run.name}
    for field, value in about.items():
        if value is not None:
            draft.assign(f"unitrack/{field}", value)
    draft.moment("unitrack/started", run.started)
    draft.assign("unitrack/status", "running")
    draft.assign("sys/failed", value=False)
    draft.tags(run.tags)
    draft.tags([run.group] if run.group else [], group=True)


def ending(draft: Draft, status: FinalStatus, ended: float | None) -> None:
    """Add how and when the run ended."""
    draft.assign("unitrack/status", status)
    draft.assign("sys/failed", value=status != "finished")
    if ended is not None:
        draft.moment("unitrack/ended", ended)


# -- values --------------------------------------------------------------------------------------


def flatten(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of a nested dict, keys joined by `/`; an empty dict is a leaf."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}/{key}")
        else:
            yield f"{prefix}/{key}", value


def _params(draft: Draft, record: Record, event: events.Params) -> None:  # noqa: ARG001 - as all handlers
    for name, value in flatten(event.values, "params"):
        draft.value(name, value)


def _summary(draft: Draft, record: Record, event: events.Summary) -> None:  # noqa: ARG001 - as all handlers
    for name, value in flatten(event.values, "summary"):
        draft.value(name, value)


def _run(draft: Draft, record: Record, event: events.RunStarted) -> None:
    draft.tags(event.tags)
    if event.argv and not record.rank:
        _json(draft, "unitrack/argv", event.argv)


def _tags(draft: Draft, record: Record, event: events.Tags) -> None:  # noqa: ARG001 - as all handlers
    draft.tags(event.add, event.remove)
    for name, text in event.values.items():
        draft.value(f"tags/{name}", text)
    for name in event.remove:
        if draft.has(f"tags/{name}", "str"):
            draft.lowerings.tell("event", f"tags/{name}", "a tag with text that was removed is an empty text")
            draft.assign(f"tags/{name}", "")


def _json(draft: Draft, name: str, value: Any) -> None:
    # A text, whatever it spells: `restore` must not take it for a number.
    text = json.dumps(value, ensure_ascii=False)
    path = draft.path(name, "str")
    cut = None if path is None else draft.cut(name, path, text, draft.limits.text)
    if path is not None and cut is not None:
        draft.assign(path, cut)


def _capture(draft: Draft, record: Record, event: events.Capture) -> None:
    place = f"unitrack/captures/rank{record.rank}" if record.rank else "unitrack/captures"
    _json(draft, f"{place}/{event.name}", event.values)


def _definition(draft: Draft, record: Record, event: events.MetricDefinition) -> None:  # noqa: ARG001 - as all handlers
    about = {"goal": event.goal, "summary": event.summary, "step": event.step}
    _json(draft, f"unitrack/definitions/{event.name}", {name: word for name, word in about.items() if word})


def _alert(draft: Draft, record: Record, event: events.Alert) -> None:  # noqa: ARG001 - as all handlers
    text = event.title + (f": {event.text}" if event.text else "")
    _line(draft, f"alerts/{event.level}", None, event.time, text, quiet=True)


# -- text series ---------------------------------------------------------------------------------


def _console(draft: Draft, record: Record, event: events.Console) -> None:
    name = f"console/rank{record.rank}/{event.stream}" if record.rank else f"console/{event.stream}"
    for piece in _pieces(event.text, draft.limits.line):
        _line(draft, name, None, event.time, piece, quiet=True)


def _pieces(text: str, room: int) -> Iterator[str]:
    """Yield a text in pieces of at most `room` bytes, at ends of lines where that is possible."""
    if len(text.encode()) <= room:
        yield text
        return
    for line in text.splitlines(keepends=True):
        data = line.encode()
        while data:
            piece = data[:room].decode(errors="ignore")
            yield piece
            data = data[len(piece.encode()) :]


def _line(draft: Draft, name: str, step: float | None, time: float, text: str, *, quiet: bool = False) -> None:
    path = draft.path(name, "lines")
    cut = None if path is None else draft.cut(name, path, text, draft.limits.line)
    if path is None or cut is None:
        return
    # Lines and alerts have no step of their own in the journal either: counting them loses nothing.
    at = draft.next_step(path) if quiet and step is None else step
    draft.point(name, path, at, time, cut)


# -- files and data ------------------------------------------------------------------------------


def _artifact(draft: Draft, record: Record, event: events.Artifact) -> None:
    use: Literal["artifacts", "inputs"] = "artifacts" if event.use == "output" else "inputs"
    about = {
        "kind": event.kind, "digest": event.digest, "size": event.size, "uri": event.uri,
        "aliases": event.aliases, "metadata": event.metadata, "tree": event.tree,
    }  # fmt: skip
    _json(draft, f"unitrack/{use}/{event.name}", {name: value for name, value in about.items() if value})
    if event.use == "input" or event.digest is None:
        return
    kind = "tree" if event.tree else "file"
    path = draft.path(f"artifacts/{event.name}", kind)
    if path is None or (before := draft.known(path)) == event.digest:
        return
    if before is not None:
        trouble, remedy = "a second version of it", "Neptune keeps one file of a name, the last"
        draft.decide("artifact-version", event.name, trouble=trouble, remedy=remedy)
    draft.remember(path, event.digest)
    mime = "inode/directory" if event.tree else None
    draft.file(path, name=event.name.rpartition("/")[2], record=record, digest=event.digest, mime=mime)


def _media(draft: Draft, record: Record, event: events.Media) -> None:
    name = f"media/{event.name}"
    if event.caption or event.metadata:
        about = json.dumps({"caption": event.caption, "metadata": event.metadata}, ensure_ascii=False)
        _line(draft, f"unitrack/about/{name}", event.step, event.time, about)
    if event.kind == "text" and isinstance(event.inline, str):
        _line(draft, name, event.step, event.time, event.inline)
    elif event.kind == "histogram" and (bins := _bins(draft, event)) is not None:
        path = draft.path(name, "bins")
        if path is not None:
            draft.point(name, path, event.step, event.time, bins)
    elif event.inline is not None or event.digest is not None:
        _media_file(draft, record, event, name)


def _bins(draft: Draft, event: events.Media) -> Bins | None:
    """Return the histogram as a series holds it; None if it is to become a file."""
    inline = event.inline if isinstance(event.inline, dict) else {}
    edges, counts = inline.get("edges", ()), inline.get("counts", ())
    whole = all(isinstance(count, int) for count in counts) and all(isinstance(edge, (int, float)) for edge in edges)
    rises = whole and all(low < high for low, high in itertools.pairwise(edges))
    rest = {key for key, value in inline.items() if value and key not in ("edges", "counts")}
    if rises and len(edges) == len(counts) + 1 and 2 <= len(edges) <= draft.limits.bins and not rest:
        return Bins(tuple(map(float, edges)), tuple(counts))
    return None


def _media_file(draft: Draft, record: Record, event: events.Media, name: str) -> None:
    if event.kind == "histogram":
        trouble, remedy = "Neptune's series don't hold this histogram whole", "it is a JSON file"
        if draft.decide("histogram", name, trouble=trouble, remedy=remedy) == "skip":
            return
    data = None if event.inline is None else _bytes(event.inline)
    mark = digest8(data) if data is not None else (event.digest or "").removeprefix("sha256:")[:8]
    digest = event.digest if data is None else None
    file = f"{event.name.rpartition('/')[2]}.{event.format}"
    if draft.limits.file_series:
        path = draft.path(name, "files")
        upload = Upload(path=name, record=record, name=file, mime=mime_type(file), digest=digest, data=data)
        if path is not None:
            draft.point(name, path, event.step, event.time, upload)
        return
    word = "" if event.step is None else f"step-{event.step:.15g}-"
    path = draft.path(f"{name}/{word}{mark}", "file")
    if path is not None:
        draft.file(path, name=file, record=record, digest=digest, data=data)


def _bytes(inline: Any) -> bytes:
    return inline.encode() if isinstance(inline, str) else json.dumps(inline, ensure_ascii=False).encode()


def _dataset(draft: Draft, record: Record, event: events.DatasetUsed) -> None:  # noqa: ARG001 - as all handlers
    about = {
        "name": event.name, "uri": event.uri, "digest": event.digest, "version": event.version, "split": event.split,
        "rows": event.rows, "columns": event.columns, "metadata": event.metadata,
    }  # fmt: skip
    name = event.name if event.split is None else f"{event.name} ({event.split})"
    _json(draft, f"datasets/{name}", {key: value for key, value in about.items() if value})


# -- all else ------------------------------------------------------------------------------------


def _nothing(draft: Draft, record: Record, event: Any) -> None:
    """Beginnings and ends of writers are told to `open` and `close`."""


def _other(draft: Draft, record: Record, event: Any) -> None:  # noqa: ARG001 - as all handlers
    word = str(getattr(event, "type", type(event).__name__))
    draft.decide("event", word, trouble="a type this version doesn't know", remedy="it stays in the journal")


_HANDLERS: Mapping[type, Callable[[Draft, Record, Any], None]] = {
    events.WriterStarted: _nothing,
    events.Status: _nothing,
    events.RunStarted: _run,
    events.Params: _params,
    events.Summary: _summary,
    events.Tags: _tags,
    events.Artifact: _artifact,
    events.DatasetUsed: _dataset,
    events.Media: _media,
    events.Console: _console,
    events.Capture: _capture,
    events.Alert: _alert,
    events.MetricDefinition: _definition,
}
