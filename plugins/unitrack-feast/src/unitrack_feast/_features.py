"""What a feature service serves, as data, and how two differ. Pure: specifications come in as plain dicts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["Feature", "FeatureSet", "View", "differences", "of_specs"]

# What says who made a thing and when, or what it is called; none of it moves a value.
_ABOUT = {"meta", "description", "tags", "owner", "labels", "version", "project", "last_updated_timestamp"}
# Where values are read from: training and production have stores of their own.
_SOURCES = {"batch_source", "stream_source", "online", "offline"}


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One column that a model gets."""

    view: str
    name: str
    type: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A feature view: `digest` is of its whole specification, `served` of what it serves wherever it is read from."""

    digest: str
    served: str
    entities: tuple[str, ...] = ()
    ttl: str | None = None
    event_timestamp: str | None = None


class FeatureSet(msgspec.Struct, frozen=True, kw_only=True):
    """All that a feature service serves, in its order; `version` is a hash that only a real change moves."""

    service: str
    version: str
    features: tuple[Feature, ...]
    views: dict[str, View]


def of_specs(service: Mapping[str, Any], views: Mapping[str, Mapping[str, Any]]) -> FeatureSet:
    """Return the feature set of a service's specification and of those of its views, by name."""
    features = tuple(
        Feature(view=used.get("feature_view_name", ""), name=column["name"], type=column.get("value_type", "INVALID"))
        for used in service.get("features", ())
        for column in used.get("feature_columns", ())
    )
    made = {name: _view(spec) for name, spec in views.items()}
    whole = [
        _without(service, _ABOUT | {"batch_source", "stream_source"}),
        {name: view.digest for name, view in made.items()},
    ]
    return FeatureSet(service=service["name"], version=_digest(whole), features=features, views=made)


def _view(spec: Mapping[str, Any]) -> View:
    return View(
        digest=_digest(_without(spec, _ABOUT)),
        served=_digest(_without(spec, _ABOUT | _SOURCES)),
        entities=tuple(spec.get("entities", ())),
        ttl=spec.get("ttl"),
        event_timestamp=spec.get("batch_source", {}).get("timestamp_field"),
    )


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, Mapping):
        # The pickled body of a transformation differs between Pythons; its text is kept.
        return {name: _without(one, names) for name, one in value.items() if name not in names and name != "body"}
    return [_without(one, names) for one in value] if isinstance(value, (list, tuple)) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def differences(trained: FeatureSet, served: FeatureSet) -> tuple[str, ...]:
    """Say how what production serves is not what the model was trained on, in words; nothing if it is the same."""
    ours = {(one.view, one.name): one.type for one in trained.features}
    theirs = {(one.view, one.name): one.type for one in served.features}
    said = [f"{_name(key)} is not served" for key in ours if key not in theirs]
    said += [f"{_name(key)} is served and was not trained on" for key in theirs if key not in ours]
    said += [
        f"{_name(key)} is {theirs[key]}, and was {ours[key]} in training"
        for key in ours
        if key in theirs and ours[key] != theirs[key]
    ]
    if not said and list(ours) != list(theirs):
        order = ", ".join(map(_name, theirs))
        said.append(f"features are served in another order: {order}; trained on {', '.join(map(_name, ours))}")
    return tuple(said + _of_views(trained.views, served.views))


def _of_views(ours: Mapping[str, View], theirs: Mapping[str, View]) -> list[str]:
    said = []
    for name in ours.keys() & theirs.keys():
        mine, other = ours[name], theirs[name]
        if mine.entities != other.entities:
            said.append(f"view {name} is joined on {_some(other.entities)}, and was on {_some(mine.entities)}")
        if mine.ttl != other.ttl:
            said.append(
                f"view {name} serves values of {other.ttl or 'any age'}, and of {mine.ttl or 'any age'} in training"
            )
        if mine.served != other.served and not said:
            said.append(f"view {name} has another definition")
    return sorted(said)


def _name(key: tuple[str, str]) -> str:
    return ":".join(key)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"
