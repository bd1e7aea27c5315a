"""Events to what MLflow holds. Pure: no clock, no file, no network, no client.

What becomes of what is told in the README's table; every loss is a `Lowering`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from unitrack import events
from unitrack.backend import Record, Rejection
from unitrack.lowering import Policy, RefusedError, choose_policies
from unitrack.model import restore
from unitrack_mlflow._mapping_files import add_json, artifact, dataset, media
from unitrack_mlflow._names import digest8, to_key, to_path
from unitrack_mlflow._plan import KINDS, Held, Plan, Point, SkippedError, Upload
from unitrack_mlflow._text import typed

__all__ = ["LONGEST_PARAM", "flatten", "to_plan"]

_DEFAULTS = choose_policies(KINDS, None, section="backends.mlflow.lowering")
LONGEST_PARAM = 6000
_LARGEST = 1.7976931348623157e308
_INT64 = 2**63
_EXACT = 2**53
_WORDS = {"NaN": math.nan, "Infinity": _LARGEST, "-Infinity": -_LARGEST}
_GIT_TAGS = {
    "commit": "mlflow.source.git.commit",
    "branch": "mlflow.source.git.branch",
    "remote": "mlflow.source.git.repoURL",
}
_LONGEST_CAPTURE_TAG = 500


def to_plan(
    records: Iterable[Record], held: Held, *, started: float, policies: Mapping[str, Policy] | None = None
) -> Plan:
    """Return what the records become, given what the run holds; `started` is the run's start in epoch seconds.

    Records that a policy refuses are the plan's `rejected` and leave nothing else in it.
    """
    plan = Plan(held, policies if policies is not None else _DEFAULTS)
    for record in records:
        before = plan.state() if plan.may_refuse else None
        try:
            _add(plan, record, started)
        except SkippedError:
            continue
        except RefusedError as error:
            assert before is not None
            plan.restore(before)
            plan.rejected.append(Rejection(record=record, reason=str(error)))
    plan.check_repeats(plan.points)
    return plan


def _add(plan: Plan, record: Record, started: float) -> None:
    event = record.event
    if isinstance(event, events.Metrics):
        _metrics(plan, event)
    elif isinstance(event, events.System):
        _system(plan, record, event, started)
    else:
        _HANDLERS.get(type(event), _other)(plan, record, event)


# -- numbers -------------------------------------------------------------------------------------


def _metrics(plan: Plan, event: events.Metrics) -> None:
    step, stamp = event.step, _milliseconds(event.time)
    whole = step if type(step) is int and -_INT64 <= step < _INT64 else None
    for name, value in event.values.items():
        try:
            number = value if type(value) is float else _number(plan, name, value)
            at = whole if whole is not None else _step(plan, name, step)
            point = Point(plan.key(name), number, stamp, at)
        except SkippedError:
            continue
        if name[:1] == "s" and name.startswith(("summary/", "system/")):
            _mark_text(plan, name, "metric", is_text=True)
        plan.points.append(point)


def _system(plan: Plan, record: Record, event: events.System, started: float) -> None:
    """Put them where MLflow's pages look for them; the step is the run's age in seconds."""
    prefix = f"system/rank{record.rank}/" if record.rank else "system/"
    age = max(0, int(event.time - started))
    for name, value in event.values.items():
        with suppress(SkippedError):
            key = plan.key(name, prefix)
            plan.points.append(Point(key, _number(plan, key, value), _milliseconds(event.time), age))


def _milliseconds(time: float) -> int:
    return max(0, int(time * 1000))


def _step(plan: Plan, name: str, step: events.Step | None) -> int:
    """Return the step as a 64-bit integer."""
    if step is None:
        plan.decide("step", "(none)", "metrics logged without a step", "they have step 0, in the order of their time")
        return 0
    whole = math.floor(step)
    if whole != step:
        plan.decide("step", name, "fractional steps", f"they are rounded down, the first {step:g} to {whole}")
    if -_INT64 <= whole < _INT64:
        return whole
    plan.decide("step", name, f"{step:g} is outside the 64-bit integers", "it is set to the nearest one")
    return _INT64 - 1 if whole > 0 else -_INT64


def _number(plan: Plan, name: str, value: events.Metric) -> float:
    if isinstance(value, str):
        if value != "NaN":
            plan.decide("non-finite", name, f"MLflow can't hold {value}", f"it is {_WORDS[value]!r} there")
        return _WORDS[value]
    if abs(value) > _EXACT and int(value) != float(value):
        plan.decide("precision", name, f"{value} is no 64-bit float", f"it is {float(value)!r} in MLflow")
    return float(value)


# -- params and summary --------------------------------------------------------------------------


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of a nested dict, keys joined by `/`; an empty dict is a leaf."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _params(plan: Plan, record: Record, event: events.Params) -> None:
    for name, value in flatten(event.values):
        with suppress(SkippedError):
            key, text = plan.key(name or "_"), _text(value)
            short = _shortened(plan, record, key, text)
            looks = isinstance(restore(value), str) and not isinstance(typed(text), str)
            _mark_text(plan, name, "param", is_text=looks)
            _set_param(plan, record, key, short)


def _text(value: Any) -> str:
    """Return a param as MLflow's own users see it: `str()` of scalars, JSON of what is nested."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(restore(value))


def _mark_text(plan: Plan, name: str, what: str, *, is_text: bool) -> None:
    """Note beside what reads as something else that it isn't: a reader would make the text `"1"` a number."""
    mark = to_key(name or "_", f"unitrack.text.{what}.").text
    if is_text:
        plan.tags[mark] = "true"
    elif plan.tag_of(mark) is not None:
        plan.tags[mark] = None


def _shortened(plan: Plan, record: Record, key: str, text: str) -> str:
    if len(text) <= LONGEST_PARAM:
        return text
    path, trouble = f"unitrack/params/{key}.txt", f"{len(text):,} characters"
    told = f"{len(text)} characters, sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    if plan.policy("param-length") != "artifact":
        plan.decide("param-length", key, trouble, "the first 400 are kept, with length and SHA-256")
        return f"{text[:400]}... ({told})"
    plan.decide("param-length", key, trouble, f"the whole value is the artifact {path}")
    plan.uploads.append(Upload(path=path, record=record, data=text.encode()))
    return f"{text[:400]}... ({told}, whole: {path})"


def _set_param(plan: Plan, record: Record, key: str, text: str) -> None:
    """Set a param, which MLflow lets nobody change: a later value is a tag beside it."""
    first = plan.params.get(key, plan.held.params.get(key))
    later = plan.key(key, "unitrack.param.")
    if first is None:
        plan.params[key] = text
    elif first != text or plan.tag_of(later) is not None:
        plan.decide(
            "param-changed", key, "MLflow lets nobody change a param: it keeps its first value",
            f"the later one is the tag {later}",
        )  # fmt: skip
        plan.tag(later, text, record)


def _summary(plan: Plan, record: Record, event: events.Summary) -> None:
    """Make numbers metrics, which can be searched and sorted, and all else tags."""
    for name, value in flatten(event.values):
        with suppress(SkippedError):
            _summarise(plan, record, event.time, name, value)


def _summarise(plan: Plan, record: Record, time: float, name: str, value: Any) -> None:
    number = restore(value)
    if isinstance(number, (int, float)):
        key = plan.key(name or "_", "summary/")
        plan.points.append(Point(key, _number(plan, key, value), _milliseconds(time), 0))
        return
    key, text = plan.key(name or "_", "unitrack.summary."), _text(value)
    _mark_text(plan, name, "summary", is_text=isinstance(number, str) and not isinstance(typed(text), str))
    plan.tag(key, text, record)


# -- who and where -------------------------------------------------------------------------------


def _run(plan: Plan, record: Record, event: events.RunStarted) -> None:
    plan.resumed = plan.resumed or bool(event.resumed)
    if event.argv and not record.rank:
        plan.tag("mlflow.source.name", event.argv[0], record)
        plan.tag("unitrack.argv", json.dumps(event.argv, ensure_ascii=False), record)
    for tag in event.tags:
        _tag(plan, record, tag, None)


def _tags(plan: Plan, record: Record, event: events.Tags) -> None:
    for tag in event.add:
        _tag(plan, record, tag, None)
    for name, value in event.values.items():
        _tag(plan, record, name, value)
    for tag in event.remove:
        with suppress(SkippedError):
            plan.tags[_tag_key(plan, tag)] = None


def _tag(plan: Plan, record: Record, name: str, value: str | None) -> None:
    """Set a tag; a word has no text."""
    with suppress(SkippedError):
        plan.tag(_tag_key(plan, name), "true" if value is None else value, record)
        _mark_text(plan, name, "tag", is_text=value == "true")


def _tag_key(plan: Plan, name: str) -> str:
    """Keep users' tags out of the names that MLflow and this backend use."""
    reserved = name.startswith(("mlflow.", "unitrack."))
    return plan.key(name or "_", "unitrack.tag." if reserved else "")


def _capture(plan: Plan, record: Record, event: events.Capture) -> None:
    add_json(plan, record, _capture_path(plan, record, event), event.values)
    if record.rank:
        return
    for name, value in flatten(event.values):
        text = _text(value)
        if len(text) <= _LONGEST_CAPTURE_TAG and name.count("/") == 0:
            with suppress(SkippedError):
                plan.tag(plan.key(name, f"unitrack.{event.name}."), text, record)
    if event.name == "git":
        for name, tag in _GIT_TAGS.items():
            if isinstance(event.values.get(name), str):
                plan.tag(tag, event.values[name], record)


def _capture_path(plan: Plan, record: Record, event: events.Capture) -> str:
    """Give the first capture of a name the plain path; later ones add to it and must not take its place."""
    path = f"unitrack/captures/{_ranked(plan, record, event.name)}"
    if record.rank:
        return f"{path}.json"
    mark, this = to_key(event.name or "_", "unitrack.captured.").text, f"{record.writer}-{event.seq:09d}"
    first = plan.tag_of(mark)
    if first is None:
        plan.tags[mark] = this
    return f"{path}.json" if first in (None, this) else f"{path}@{this}.json"


def _ranked(plan: Plan, record: Record, name: str) -> str:
    path = plan.note(name, to_path(name))
    return f"rank{record.rank}/{path}" if record.rank else path


def _definition(plan: Plan, record: Record, event: events.MetricDefinition) -> None:
    meaning = {"goal": event.goal, "summary": event.summary, "step": event.step}
    told = {name: value for name, value in meaning.items() if value is not None}
    plan.tag(plan.key(event.name, "unitrack.metric."), json.dumps(told), record)


def _alert(plan: Plan, record: Record, event: events.Alert) -> None:
    text = f"{event.level}: {event.title}" + (f": {event.text}" if event.text else "")
    plan.tag(f"unitrack.alert.{digest8(record.writer)}.{event.seq}", text, record)
    plan.lower("event", "alert", "alerts are tags")


# -- all else ------------------------------------------------------------------------------------


def _console(plan: Plan, record: Record, event: events.Console) -> None:  # noqa: ARG001 - as all handlers
    plan.lower("event", "console", "what the process printed stays in the journal")


def _nothing(plan: Plan, record: Record, event: Any) -> None:
    """Beginnings and ends of writers are told to `open` and `close`."""


def _other(plan: Plan, record: Record, event: Any) -> None:  # noqa: ARG001 - as all handlers
    word = getattr(event, "type", type(event).__name__)
    plan.lower("event", str(word), "a type of event that this version doesn't know stays in the journal")


_HANDLERS: Mapping[type, Callable[[Plan, Record, Any], None]] = {
    events.WriterStarted: _nothing,
    events.Status: _nothing,
    events.RunStarted: _run,
    events.Params: _params,
    events.Summary: _summary,
    events.Tags: _tags,
    events.Artifact: artifact,
    events.DatasetUsed: dataset,
    events.Media: media,
    events.Console: _console,
    events.Capture: _capture,
    events.Alert: _alert,
    events.MetricDefinition: _definition,
}
