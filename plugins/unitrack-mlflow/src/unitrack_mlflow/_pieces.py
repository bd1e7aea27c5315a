"""Params, tags, definitions, alerts and datasets of MLflow as events. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from unitrack import events
from unitrack_mlflow._names import digest8
from unitrack_mlflow._undo import Undone

__all__ = ["datasets", "words"]


def words(undone: Undone, time: float) -> Iterator[events.Event]:
    """Yield what the params and tags of a run stand for."""
    if undone.params:
        yield events.Params(seq=0, time=time, values=undone.params)
    if undone.values:
        yield events.Tags(seq=0, time=time, values=undone.values)
    for name, meaning in undone.definitions.items():
        yield events.MetricDefinition(seq=0, time=time, name=name, **meaning)
    if undone.summary:
        yield events.Summary(seq=0, time=time, values=undone.summary)
    for level, title, text in undone.alerts:
        known: Any = level if level in ("info", "warning", "error") else "info"
        yield events.Alert(seq=0, time=time, title=title, text=text, level=known)


def datasets(inputs: Any, digests: Mapping[str, str], time: float) -> Iterator[events.DatasetUsed]:
    """Yield the datasets of a run; `digests` are the whole ones of those that MLflow has no room for."""
    for each in getattr(inputs, "dataset_inputs", None) or ():
        yield _dataset(each.dataset, {tag.key: tag.value for tag in each.tags}, digests, time)


def _dataset(dataset: Any, tags: Mapping[str, str], digests: Mapping[str, str], time: float) -> events.DatasetUsed:
    profile = _object(dataset.profile)
    uri = _uri(dataset)
    version = profile.pop("version", None)
    digest = digests.get(dataset.name, dataset.digest)
    if digest == version or digest == digest8(f"{dataset.name} {uri}"):  # what stands in for a digest
        digest = None
    rows = profile.pop("num_rows", None)
    return events.DatasetUsed(
        seq=0, time=time, name=dataset.name, uri=uri, digest=digest,
        version=None if version is None else str(version), split=tags.get("mlflow.data.context"),
        rows=rows if type(rows) is int else None, columns=_columns(_object(dataset.schema)), metadata=profile,
    )  # fmt: skip


def _uri(dataset: Any) -> str | None:
    source = _object(dataset.source)
    found = source.get("uri") or source.get("url") or source.get("path")
    return None if found in (None, dataset.name) else str(found)


def _columns(schema: Mapping[str, Any]) -> list[list[str]] | None:
    spec = schema.get("mlflow_colspec")
    if not isinstance(spec, list) or not all(isinstance(column, Mapping) for column in spec):
        return None
    return [[str(column.get("name")), str(column.get("type"))] for column in spec]


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
