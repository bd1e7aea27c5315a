"""Events to what W&B holds. Pure: no clock, no file, no network, no client.

Every row is an event of its own, with unitrack's step under `unitrack/step`: W&B's global step only counts
rows, so no step is ever refused. What becomes of what is told in the README's table; every loss is a `Lowering`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from unitrack import events
from unitrack.backend import Record, Rejection
from unitrack.lowering import Lowerings, NameMap, Policy, RefusedError
from unitrack_wandb import _media, _names
from unitrack_wandb._plan import (
    MEDIA_KEY,
    STEP_KEY,
    ConfigOp,
    DefineOp,
    FileOp,
    InputOp,
    LogArtifactOp,
    Op,
    Row,
    SendAlertOp,
    State,
    SummaryOp,
    TagsOp,
)  # fmt: skip

__all__ = ["KINDS", "Mapper"]

KINDS: dict[str, tuple[Policy, ...]] = {
    "name": ("sanitize", "skip", "fail"),
    "non-finite": ("sanitize", "skip", "fail"),
    "tag": ("sanitize", "skip", "fail"),
    "histogram": ("sanitize", "artifact", "skip", "fail"),
    "media": ("artifact", "skip", "fail"),
    "lineage": ("sanitize", "fail"),
    "dataset": ("sanitize", "fail"),
    "alert": ("sanitize", "fail"),
    "status": ("sanitize",),
    "event": ("skip", "fail"),
}
_LEVELS: Mapping[str, Any] = {"info": "INFO", "warning": "WARN", "error": "ERROR"}
_LONGEST_TITLE = 63
_WORDS = frozenset({"NaN", "Infinity", "-Infinity"})
_CLEAN: Mapping[str, tuple[Callable[[str, int], str], int]] = {
    "metric": (_names.clean_metric, _names.LONGEST_METRIC),
    "param": (_names.clean_param, _names.LONGEST_METRIC),
    "artifact": (_names.clean_artifact, _names.LONGEST_ARTIFACT),
    "type": (_names.clean_artifact, _names.LONGEST_ARTIFACT),
    "alias": (_names.clean_alias, _names.LONGEST_ARTIFACT),
    "tag": (_names.clean_tag, _names.LONGEST_TAG),
}


class Mapper:
    """Turns records into ops, given what W&B holds in `state`, and keeps `state` as it will be."""

    def __init__(self, state: State, lowerings: Lowerings, *, started: float) -> None:
        self.state, self.lowerings, self._started = state, lowerings, started
        self._ops: list[Op] = []
        self._maps: dict[str, NameMap] = {}
        self._metric_keys: dict[str, str] = {}
        self._renamed = False
        self._passed: set[tuple[str, int]] = set()

    def map(self, records: Iterable[Record]) -> tuple[list[Op], list[Rejection]]:
        """Return what to do in W&B for the records it hasn't, in order, and those it can't have."""
        self._ops, rejected = [], []
        for record in records:
            if self.state.is_done(record):
                continue
            if record.key in self._passed:  # in its turn: what comes before it isn't done yet
                self._advance(record, refused=True)
                continue
            before = len(self._ops)
            try:
                self._map_one(record)
            except RefusedError as error:
                del self._ops[before:]
                rejected.append(Rejection(record=record, reason=str(error)))
            self._advance(record, refused=bool(rejected) and rejected[-1].record is record)
        self._passed.clear()
        if self._renamed:
            self._renamed = False
            self.tell_about("names", self.state.names)
        return self._ops, rejected

    def refuse(self, records: Iterable[Record]) -> None:
        """Take note of records whose files are not to be had: `map` passes over them."""
        self._passed.update(record.key for record in records)

    def _map_one(self, record: Record) -> None:
        event = record.event
        if type(event) is events.Metrics:
            self._metrics(record, event)
        else:
            _HANDLERS.get(type(event), Mapper._other)(self, record, event)

    def _advance(self, record: Record, *, refused: bool) -> None:
        writer, seq = record.key
        state = self.state
        if refused:
            if (writer, seq) not in state.refused:
                state.refused.append((writer, seq))
        elif state.refused and (writer, seq) in state.refused:
            state.refused.remove((writer, seq))
        state.writers[writer] = max(seq, state.writers.get(writer, 0))

    # -- names -----------------------------------------------------------------------------------

    def key(self, kind: str, name: str) -> str | None:
        """Return W&B's name for `name`, None if the policy leaves it out. Raises RefusedError."""
        names = self._maps.get(kind)
        if names is None:
            clean, longest = _CLEAN[kind]
            names = self._maps[kind] = NameMap(clean, longest=longest, known=self.state.names.get(kind))
        key = names.key(name)
        if key != name:
            remedy = f"is {key} in W&B; the config has it under unitrack.names"
            if self.lowerings.decide("name", name, trouble=f"W&B takes no such {kind}", remedy=remedy) == "skip":
                return None
            if self.state.names.get(kind, {}).get(key) != name:
                self.state.names.setdefault(kind, {})[key] = name
                self._renamed = True
        return key

    def _keys(self, kind: str, names: Iterable[str]) -> list[str]:
        return [key for name in names if (key := self.key(kind, name)) is not None]

    def _metric_key(self, name: str, step: events.Step | None) -> str | None:
        """Return the key of a metric, and say where its steps are: once it has some."""
        key = self._metric_keys.get(name) or self.key("metric", name)
        if key is None:
            return None
        self._metric_keys[name] = key
        if not self.state.steps.get(key):
            self._define(name, key, STEP_KEY if step is not None else None)
        return key

    def _define(self, name: str, key: str, step: str | None) -> None:
        told = self.state.definitions.get(name, {})
        axis = (self.key("metric", told["step"]) if told.get("step") else None) or step
        if self.state.steps.get(key) != (axis or ""):
            self.state.steps[key] = axis or ""
            self._ops.append(DefineOp(key, axis, told.get("goal"), self._summary_of(key, told)))

    def _summary_of(self, key: str, told: Mapping[str, Any]) -> str | None:
        """Return what W&B is to make the summary of; what was set by hand stays."""
        return "none" if key in self.state.by_hand else told.get("summary")

    # -- rows ------------------------------------------------------------------------------------

    def _metrics(self, record: Record, event: events.Metrics) -> None:
        step, steps = event.step, self.state.steps
        values = []
        for name, value in event.values.items():
            key = self._metric_keys.get(name)
            if key is None or not steps.get(key):
                key = self._metric_key(name, step)
                if key is None:
                    continue
            values.append((key, repr(value) if type(value) is float else _json_number(value)))
        text = None if step is None else _json_number(step)
        self._ops.append(Row(values, f"{record.writer}:{event.seq}", event.time, text, is_metrics=True))

    def _system(self, record: Record, event: events.System) -> None:
        """Keep them as rows of their own, whose axis is time."""
        prefix = f"system/rank{record.rank}/" if record.rank else "system/"
        values = []
        for name, value in event.values.items():
            key = prefix + name
            if key not in self.state.steps:
                self.state.steps[key] = "_timestamp"
                self._ops.append(DefineOp(key, "_timestamp"))
            values.append((key, _json_number(value)))
        self._ops.append(Row(values, f"{record.writer}:{event.seq}", event.time, None, is_metrics=True))

    def _row(self, record: Record, event: events.Media, key: str, value: Any, **about: Any) -> None:
        told = {
            "name": event.name, "kind": event.kind, "format": event.format, "digest": event.digest, "size": event.size,
            "caption": event.caption, "metadata": event.metadata, **about,
        }  # fmt: skip
        values = [(key, _dumps(value)), (MEDIA_KEY, _dumps({name: one for name, one in told.items() if one}))]
        step = None if event.step is None else _json_number(event.step)
        self._ops.append(Row(values, f"{record.writer}:{event.seq}", event.time, step))

    # -- media -----------------------------------------------------------------------------------

    def _media(self, record: Record, event: events.Media) -> None:
        if event.inline is None and event.digest is None:
            return
        key = self._metric_key(event.name, event.step)
        if key is None:
            return
        if event.kind == "histogram" and isinstance(event.inline, dict):
            self._histogram(record, event, key, event.inline)
            return
        content = None if event.inline is None else _content(event.inline)
        shown = _media.show(event, content, key=key)
        if shown.value["_type"] == "file":
            trouble = f"W&B shows no {event.kind} of the format {event.format}"
            if self.lowerings.decide("media", event.name, trouble=trouble, remedy="it is a file of the run") == "skip":
                return
        self._ops.append(FileOp(shown.path, shown.digest, shown.data))
        self._row(record, event, key, shown.value)

    def _histogram(self, record: Record, event: events.Media, key: str, inline: dict[str, Any]) -> None:
        about: dict[str, Any] = {"nan": inline.get("nan"), "inf": inline.get("inf")}
        bins = len(inline["counts"])
        if bins > _media.MOST_BINS:
            policy = self.lowerings.decide(
                "histogram", event.name, trouble=f"{bins} bins are more than W&B's 512", remedy="neighbours are merged"
            )
            if policy == "skip":
                return
            if policy == "artifact":
                path = f"unitrack/histograms/{record.writer}-{event.seq}.json"
                self._ops.append(FileOp(path, data=_dumps(inline).encode()))
                about["whole"] = path
            inline = _media.merged_bins(inline)
        self._row(record, event, key, _media.histogram(inline), **about)

    # -- config and summary ----------------------------------------------------------------------

    def tell_about(self, key: str, value: Any) -> None:
        """Set what the config holds of the run under `unitrack`."""
        self.state.about[key] = value
        self._ops.append(ConfigOp("unitrack", dict(self.state.about)))

    def _params(self, _record: Record, event: events.Params) -> None:
        for name, value in event.values.items():
            key = self.key("param", name)
            if key is None:
                continue
            kept = self._finite(name, value)
            old = self.state.params.get(key)
            for lost in _reshaped(name, old, kept) if key in self.state.params else ():
                detail = "it took another shape (a value became a tree, or a tree a value): what it was is gone"
                self.lowerings.tell("param-shape", lost, detail)
            if isinstance(old, dict) and isinstance(kept, dict):
                kept = _merged(old, kept)
            self.state.params[key] = kept
            self._ops.append(ConfigOp(key, kept))

    def _finite(self, name: str, value: Any) -> Any:
        """Return a tree whose numbers W&B's config holds: it makes null of those that aren't finite."""
        if isinstance(value, dict):
            return {key: self._finite(f"{name}/{key}", one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._finite(name, one) for one in value]
        if value in _WORDS and isinstance(value, str):
            policy = self.lowerings.decide(
                "non-finite", name, trouble=f"W&B's config can't hold the number {value}", remedy="it is a text there"
            )
            return None if policy == "skip" else value
        return value

    def _summary(self, _record: Record, event: events.Summary) -> None:
        for name, value in event.values.items():
            key = self.key("metric", name)
            if key is None:
                continue
            if key not in self.state.by_hand:
                self.state.by_hand.append(key)
            self._ops.append(SummaryOp(key, value))
            # A metric or a picture of the same name may take its place in W&B's summary.
            self.tell_about("summary", {**self.state.about.get("summary", {}), key: value})

    # -- who and where ---------------------------------------------------------------------------

    def _run(self, record: Record, event: events.RunStarted) -> None:
        if event.argv and not record.rank:
            self.tell_about("argv", event.argv)
        self._set_tags(event.tags, (), {})
        if event.resumed:
            self.state.about.pop("status", None)
            self.state.about.pop("ended", None)
            self.tell_about("resumed", event.resumed)

    def _tags(self, _record: Record, event: events.Tags) -> None:
        self._set_tags(event.add, event.remove, event.values)

    def _set_tags(self, add: Iterable[str], remove: Iterable[str], values: Mapping[str, str]) -> None:
        gone = set(self._keys("tag", remove))
        tags = [*self.state.tags, *self._keys("tag", add)]
        tags = [tag for tag in dict.fromkeys(tags) if tag not in gone]
        if tags != self.state.tags:
            self.state.tags = tags
            self._ops.append(TagsOp(tuple(tags)))
        texts = {**self.state.about.get("tags", {}), **values}
        texts = {name: text for name, text in texts.items() if name not in set(remove)}
        if texts != self.state.about.get("tags", {}):
            for name in values:
                trouble = "W&B's tags carry no text"
                self.lowerings.decide("tag", name, trouble=trouble, remedy="it is in the config under unitrack.tags")
            if self.lowerings.policy("tag") != "skip":
                self.tell_about("tags", texts)

    def _capture(self, record: Record, event: events.Capture) -> None:
        folder = f"unitrack/captures/rank{record.rank}" if record.rank else "unitrack/captures"
        self._ops.append(FileOp(f"{folder}/{_names.clean_artifact(event.name, 128)}.json", data=_pretty(event.values)))

    def _definition(self, _record: Record, event: events.MetricDefinition) -> None:
        known = self.state.definitions.get(event.name, {})
        new = {"goal": event.goal, "summary": event.summary, "step": event.step}
        told = {**known, **{name: value for name, value in new.items() if value is not None}}
        self.state.definitions[event.name] = told
        self.tell_about("metrics", dict(self.state.definitions))
        key = self.key("metric", event.name)
        if key is None:
            return
        axis = self.key("metric", told["step"]) if told.get("step") else None
        axis = axis or self.state.steps.get(key) or STEP_KEY
        self.state.steps[key] = axis
        self._ops.append(DefineOp(key, axis, told.get("goal"), self._summary_of(key, told)))

    def _alert(self, _record: Record, event: events.Alert) -> None:
        if len(event.title) > _LONGEST_TITLE:
            trouble = f"W&B's titles have at most {_LONGEST_TITLE} characters"
            self.lowerings.decide("alert", event.title, trouble=trouble, remedy="the whole title begins the text")
            text = f"{event.title}\n{event.text}".strip()
            self._ops.append(SendAlertOp(event.title[:_LONGEST_TITLE], text, _LEVELS[event.level]))
        else:
            self._ops.append(SendAlertOp(event.title, event.text, _LEVELS[event.level]))

    # -- files and data --------------------------------------------------------------------------

    def _artifact(self, _record: Record, event: events.Artifact) -> None:
        name, kind = self.key("artifact", event.name), self.key("type", event.kind or "artifact")
        if name is None or kind is None:
            return
        aliases = tuple(self._keys("alias", event.aliases))
        about = {"name": event.name, "kind": event.kind, "digest": event.digest, "size": event.size, "tree": event.tree}
        told = {key: value for key, value in about.items() if value} | {"aliases": event.aliases}
        if event.use == "input":
            used = {**self.state.about.get("inputs", {})}
            used[event.name] = {**told, "uri": event.uri, "metadata": event.metadata}
            self.tell_about("inputs", used)
            self._ops.append(InputOp(name, event.name, aliases))
            return
        if event.digest is None and event.uri is None:
            return
        self._ops.append(
            LogArtifactOp(
                name,
                kind,
                event.name.rpartition("/")[2],
                event.digest,
                event.tree,
                event.uri,
                aliases,
                {**event.metadata, "unitrack": told},
                event.name,
            )
        )

    def _dataset(self, record: Record, event: events.DatasetUsed) -> None:
        remedy = "it is in the config under unitrack.datasets"
        self.lowerings.decide("dataset", event.name, trouble="W&B has no datasets of a run", remedy=remedy)
        fields = ("name", "uri", "digest", "version", "split", "rows", "columns", "metadata")
        told = {name: value for name in fields if (value := getattr(event, name)) is not None}
        used = {**self.state.about.get("datasets", {}), f"{record.writer}:{event.seq}": told}
        self.tell_about("datasets", used)

    # -- all else --------------------------------------------------------------------------------

    def _console(self, _record: Record, _event: events.Console) -> None:
        trouble = "what the process printed stays in the journal"
        self.lowerings.decide("event", "console", trouble=trouble, remedy=trouble)

    def _status(self, _record: Record, event: events.Status) -> None:
        if event.reason:
            self.tell_about("reason", event.reason)
        if event.status == "killed":
            remedy = "it ends with exit code 137, which W&B calls failed; the config has unitrack.status"
            self.lowerings.decide("status", "killed", trouble="W&B's client can't end a run as killed", remedy=remedy)

    def _nothing(self, _record: Record, _event: Any) -> None:
        """Beginnings of writers are told to `open`."""

    def _other(self, _record: Record, event: Any) -> None:
        word = str(getattr(event, "type", type(event).__name__))
        trouble = "a type of event that this version doesn't know stays in the journal"
        self.lowerings.decide("event", word, trouble=trouble, remedy=trouble)


_HANDLERS: Mapping[type, Callable[[Mapper, Record, Any], None]] = {
    events.WriterStarted: Mapper._nothing,
    events.Status: Mapper._status,
    events.RunStarted: Mapper._run,
    events.Params: Mapper._params,
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


# -- JSON ----------------------------------------------------------------------------------------


def _json_number(value: events.Metric) -> str:
    """Return a number as W&B's client spells it: the words for what isn't finite stand bare."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pretty(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _content(inline: Any) -> bytes:
    return inline.encode() if isinstance(inline, str) else _dumps(inline).encode()


def _reshaped(name: str, old: Any, new: Any) -> Iterator[str]:
    """Yield the leaves of a param that a nested config loses when a value becomes a tree or a tree a value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() & new.keys():
            yield from _reshaped(f"{name}/{key}", old[key], new[key])
    elif isinstance(old, dict) and old:
        yield from _leaf_names(name, old)
    elif isinstance(new, dict) and new:
        yield name


def _leaf_names(name: str, tree: Mapping[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaf_names(f"{name}/{key}", value)
        else:
            yield f"{name}/{key}"


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
