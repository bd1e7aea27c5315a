"""Events to what TensorBoard shows. Pure: no clock, no file, no network, no client.

What becomes of what is told in the README's table; every loss is a `Lowering`. Whatever the shown values don't
tell in full rides along as the record itself, so nothing is lost in the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from unitrack import events
from unitrack.backend import Record, Rejection
from unitrack.journal.codec import encode_line
from unitrack.lowering import Lowerings, Policy, RefusedError
from unitrack.model import restore
from unitrack_tensorboard._names import Tags, safe_path
from unitrack_tensorboard._plan import Bins, Line, Number, Place, Plan, Shown, Text, Value

__all__ = ["KINDS", "Mapper", "artifact_path", "flatten", "media_path", "older_path"]

KINDS: Mapping[str, tuple[Policy, ...]] = {
    "name": ("sanitize", "skip", "fail"),
    "step": ("sanitize", "skip", "fail"),
    "precision": ("sanitize", "skip", "fail"),
    "media": ("artifact", "skip", "fail"),
}
_INT64 = 2**63
_EXACT = 2**53
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_IMAGES = ("png", "jpg", "jpeg", "gif")
_CONVERTED = ("webp", "bmp", "tiff")
_LARGEST_SHOWN = 16 << 20  # bytes: what is shown is held in memory, here and by TensorBoard


class Mapper:
    """Maps batch after batch of one run; `started` is its start in epoch seconds."""

    def __init__(self, tags: Tags, lowerings: Lowerings, *, started: float) -> None:
        self.tags, self.lowerings, self._started = tags, lowerings, started
        self._last_step: dict[str, int] = {}

    def plan(self, records: Iterable[Record]) -> Plan:
        """Return what the records become; one that a policy refuses is rejected."""
        plan = Plan()
        for record in records:
            try:
                handler = _HANDLERS.get(type(record.event), Mapper._other)
                line = handler(self, plan, record, record.event)
            except RefusedError as error:
                plan.rejected.append(Rejection(record=record, reason=str(error)))
            else:
                if line is not None:
                    plan.lines.append(line)
        return plan

    # -- numbers ---------------------------------------------------------------------------------

    def _metrics(self, _plan: Plan, record: Record, event: events.Metrics) -> Line | None:
        whole_step, step = self._step(event.step, event.values, event.seq)
        if step is None:
            return None
        values: list[Value] = []
        kept, exact = {}, whole_step
        for name, value in event.values.items():
            number, same = self._number(name, value)
            tag = None if number is None else self.tags.tag("scalar", name)
            if number is None or tag is None:
                continue
            kept[name], exact = value, exact and same
            values.append(Number(tag, number))
            self._watch(tag, step)
        whole = None if exact else encode_line(msgspec.structs.replace(event, values=kept))
        return Line(record=record, step=step, values=values, whole=whole) if values else None

    def _watch(self, tag: str, step: int) -> None:
        """Tell of steps that fall or repeat, of which TensorBoard's pages show the last only."""
        if step <= self._last_step.get(tag, -_INT64 - 1):
            self.lowerings.tell(
                "order", tag, f"step {step} came again or late: the file has all, the fast loader shows the last"
            )
        self._last_step[tag] = step

    def _step(self, step: events.Step | None, names: Iterable[str], seq: int) -> tuple[bool, int | None]:
        """Return whether TensorBoard holds the step as it is, and the step; None to leave the value out."""
        if type(step) is int and -_INT64 <= step < _INT64:
            return True, step
        if step is None:
            at, trouble = seq, "there is no step"
            names, remedy = ("(none)",), "the event's number in its journal is the step"
        else:
            at = min(max(math.floor(step), -_INT64), _INT64 - 1)
            if at == step:
                return True, at
            trouble, remedy = f"step {step:g} is no 64-bit integer", f"shown at {at}; the file keeps the step"
        told = [self.lowerings.decide("step", name, trouble=trouble, remedy=remedy) for name in names]
        return False, None if "skip" in told else at

    def _number(self, name: str, value: events.Metric) -> tuple[float | None, bool]:
        if type(value) is float:
            return value, True
        if isinstance(value, str):
            return _WORDS[value], True
        number = float(value)
        if abs(value) <= _EXACT or int(number) == value:
            return number, True
        policy = self.lowerings.decide(
            "precision", name, trouble=f"{value} is no 64-bit float", remedy=f"shown as {number!r}; the file keeps it"
        )
        return (None if policy == "skip" else number), False

    def _system(self, _plan: Plan, record: Record, event: events.System) -> Line:
        """Show the machine's numbers over the run's age in seconds."""
        prefix = f"system/rank{record.rank}/" if record.rank else "system/"
        values: list[Value] = [Number(prefix + name, self._plain(value)) for name, value in event.values.items()]
        age = max(0, int(event.time - self._started))
        return Line(record=record, step=age, values=values, whole=encode_line(event))

    @staticmethod
    def _plain(value: events.Metric) -> float:
        return _WORDS[value] if isinstance(value, str) else float(value)

    # -- params, summary, tags -------------------------------------------------------------------

    def _params(self, plan: Plan, record: Record, event: events.Params) -> Line:
        plan.params.update(flatten(event.values))
        return self._told(record, "unitrack/params", _rows(event.values))

    def _summary(self, _plan: Plan, record: Record, event: events.Summary) -> Line:
        line = self._told(record, "unitrack/summary", _rows(event.values))
        for name, value in flatten(event.values):
            number = restore(value)
            if isinstance(number, (int, float)):
                line.values.append(Number(f"summary/{name}", float(number)))
        return line

    def _run(self, plan: Plan, record: Record, event: events.RunStarted) -> Line:
        plan.tags.update(dict.fromkeys(event.tags, ""))
        told = {"project": event.project, "name": event.name, "group": event.group, "parent": event.parent,
                "tags": event.tags, "argv": event.argv}  # fmt: skip
        if event.parent:
            self.lowerings.tell("parent", event.parent, "TensorBoard has no nested runs: the parent is told as text")
        return self._told(record, "unitrack/run", _rows({name: value for name, value in told.items() if value}))

    def _tags(self, plan: Plan, record: Record, event: events.Tags) -> Line:
        plan.tags.update({**dict.fromkeys(event.add, ""), **event.values, **dict.fromkeys(event.remove)})
        told = [*event.add, *(f"{name} = {value}" for name, value in event.values.items())]
        lines = [f"- {tag}" for tag in told] + [f"- ~~{tag}~~" for tag in event.remove]
        return self._told(record, "unitrack/tags", "\n".join(lines))

    # -- files and data --------------------------------------------------------------------------

    def _artifact(self, plan: Plan, record: Record, event: events.Artifact) -> Line:
        if event.use == "output" and event.digest is not None and event.uri is None:  # else a reference
            plan.places.append(
                Place(path=artifact_path(event.name), digest=event.digest, tree=event.tree, record=record)
            )
        told = {"name": event.name, "kind": event.kind, "digest": event.digest, "size": event.size,
                "uri": event.uri, "aliases": event.aliases, **event.metadata}  # fmt: skip
        known = {name: value for name, value in told.items() if value}
        word = "unitrack/artifacts" if event.use == "output" else "unitrack/inputs"
        return self._told(record, word, _rows(known))

    def _dataset(self, _plan: Plan, record: Record, event: events.DatasetUsed) -> Line:
        told = msgspec.to_builtins(event)
        return self._told(record, "unitrack/datasets", _rows(_without(told, "type", "seq", "time")))

    def _media(self, plan: Plan, record: Record, event: events.Media) -> Line | None:
        _, step = self._step(event.step, (event.name,), event.seq)
        tag = self.tags.tag(_DATA.get(event.kind, "text"), event.name)
        if step is None or tag is None:
            return None
        value = self._inline(tag, event) if event.digest is None else self._shown(plan, record, tag, event)
        if value is None:
            return None
        self._watch(tag, step)
        return Line(record=record, step=step, values=[value], caption=event.caption, whole=encode_line(event))

    def _inline(self, tag: str, event: events.Media) -> Value:
        if event.kind != "histogram":
            return Text(tag, event.inline if isinstance(event.inline, str) else _code(event.inline))
        inline: dict[str, Any] = restore(event.inline)
        odd = inline.get("nan", 0) + inline.get("inf", 0)
        if odd:
            self.lowerings.tell("histogram", event.name, f"{odd} numbers that aren't finite are not shown")
        return Bins(tag, inline["edges"], inline["counts"])

    def _shown(self, plan: Plan, record: Record, tag: str, event: events.Media) -> Value | None:
        """Show what can be shown; what can't be, or not whole, is a file too, if the policy is `artifact`."""
        assert event.digest is not None
        shown = Shown(tag, event.kind, event.format, event.digest, media_path(event))
        fits = (event.size or 0) <= _LARGEST_SHOWN
        if fits and _is_native(event):
            return shown
        policy = self.lowerings.decide(
            "media", event.name, trouble=f"TensorBoard can't show a {event.kind} of format {event.format} whole",
            remedy=f"the file is unitrack/{shown.path}",
        )  # fmt: skip
        if policy == "skip":
            return None
        plan.places.append(Place(path=shown.path, digest=event.digest, record=record))
        if fits and (event.kind == "table" or (event.kind in _PICTURES and event.format in _CONVERTED)):
            return shown
        return Text(tag, f"{event.kind} ({event.format}): `unitrack/{shown.path}`")

    # -- all else --------------------------------------------------------------------------------

    def _capture(self, _plan: Plan, record: Record, event: events.Capture) -> Line:
        rank = f"/rank{record.rank}" if record.rank else ""
        return self._told(record, f"unitrack/captures/{event.name}{rank}", _code(event.values))

    def _alert(self, _plan: Plan, record: Record, event: events.Alert) -> Line:
        return self._told(record, "unitrack/alerts", f"**{event.level}: {event.title}**\n\n{event.text}")

    def _definition(self, _plan: Plan, record: Record, event: events.MetricDefinition) -> Line:
        told = {"goal": event.goal, "summary": event.summary, "step": event.step}
        text = _rows({name: value for name, value in told.items() if value})
        return self._told(record, f"unitrack/definitions/{event.name}", text)

    def _console(self, _plan: Plan, _record: Record, _event: events.Console) -> None:
        self.lowerings.tell("event", "console", "what the process printed stays in the journal")

    def _nothing(self, _plan: Plan, _record: Record, _event: Any) -> None:
        """Beginnings and ends of writers are told to `open` and `close`."""

    def _other(self, _plan: Plan, record: Record, event: Any) -> Line:
        word = str(getattr(event, "type", type(event).__name__))
        self.lowerings.tell("event", word, "a type of event that this version doesn't know is shown as JSON")
        return self._told(record, f"unitrack/{safe_path(word)}", _code(getattr(event, "raw", {})))

    @staticmethod
    def _told(record: Record, tag: str, text: str) -> Line:
        """Return a line of text about the run; its step is the event's number."""
        event = record.event
        return Line(record=record, step=event.seq, values=[Text(tag, text)], whole=encode_line(event))


_Handler = Callable[[Mapper, Plan, Record, Any], "Line | None"]
_HANDLERS: Mapping[type, _Handler] = {
    events.WriterStarted: Mapper._nothing,
    events.Status: Mapper._nothing,
    events.RunStarted: Mapper._run,
    events.Params: Mapper._params,
    events.Metrics: Mapper._metrics,
    events.Summary: Mapper._summary,
    events.Tags: Mapper._tags,
    events.Artifact: Mapper._artifact,
    events.DatasetUsed: Mapper._dataset,
    events.Media: Mapper._media,
    events.System: Mapper._system,
    events.Console: Mapper._console,
    events.Capture: Mapper._capture,
    events.Alert: Mapper._alert,
    events.MetricDefinition: Mapper._definition,
}
_PICTURES = ("image", "figure")
_DATA = {"image": "image", "figure": "image", "audio": "audio", "histogram": "histogram"}


def _is_native(event: events.Media) -> bool:
    kind, form = event.kind, event.format
    return (kind in _PICTURES and form in _IMAGES) or (kind == "audio" and form == "wav") or kind == "text"


# -- where files stand, under unitrack/ ----------------------------------------------------------


def artifact_path(name: str) -> str:
    """Return where the newest version of an artifact stands."""
    return f"artifacts/{name}"


def older_path(name: str, digest: str) -> str:
    """Return where a version stands whose place another has."""
    return f"versions/{digest[7:23]}/{name.rpartition('/')[2]}"


def media_path(event: events.Media) -> str:
    """Return where media stand that TensorBoard can't show."""
    mark = (event.digest or "")[7:23]
    return f"media/{safe_path(event.name)}/{mark}.{safe_path(event.format)}"


# -- text ----------------------------------------------------------------------------------------


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of a nested dict, keys joined by `/`; an empty dict is a leaf."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _rows(values: Mapping[str, Any]) -> str:
    """Return a Markdown table of names and values."""
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in flatten(values)]
    return "\n".join(["| name | value |", "| --- | --- |", *rows])


def _cell(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(restore(value))
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\r", "").replace("\n", "<br>")


def _code(values: Any) -> str:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    return "\n".join("    " + line for line in text.splitlines())


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
