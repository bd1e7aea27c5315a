"""Log a training set with where its columns are from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.errors import UsageError
from unitrack_feast._features import FeatureSet, differences
from unitrack_feast._store import read_features

if TYPE_CHECKING:
    from unitrack import Run

__all__ = ["KEY", "SAME", "log_training_set"]

KEY = "feast"  # in the dataset's metadata
SAME = "feast/production_serves_the_same"


def log_training_set(
    run: Run,
    frame: Any,
    store: Any,
    service: str,
    *,
    production: Any = None,
    split: str | None = "train",
    name: str | None = None,
    event_timestamp: str = "event_timestamp",
) -> FeatureSet:
    """Log what `get_historical_features` gave for a feature service, and return the service's features.

    `frame` is the pandas frame, in the order in which it is trained on; `store` the `FeatureStore` it is from. With
    `production`, the store that serves, the metric `feast/production_serves_the_same` is 1 or 0 for a gate to judge,
    and what differs is in the capture `feast`. Raises UsageError if the frame lacks features of the service.
    """
    features = read_features(store, service)
    columns = [str(column) for column in frame.columns]
    lacking = [one.name for one in features.features if not _columns_of(one.view, one.name, columns)]
    if lacking:
        raise UsageError(f"the frame lacks {', '.join(lacking)} of the feature service {service!r}: log it unchanged")
    about = {**msgspec.to_builtins(features), "project": str(store.project), **_times(frame, event_timestamp)}
    run.log_dataset(frame, name=name or service, split=split, version=features.version, metadata={KEY: about})
    if production is not None:
        _compare(run, features, production)
    return features


def _columns_of(view: str, name: str, columns: list[str]) -> bool:
    return name in columns or f"{view}__{name}" in columns


def _times(frame: Any, column: str) -> dict[str, Any]:
    """Return the earliest and the latest event, between which the features were joined as of."""
    if column not in frame.columns or not len(frame):
        return {}
    times = frame[column]
    return {"events": {"column": column, "first": times.min().isoformat(), "last": times.max().isoformat()}}


def _compare(run: Run, features: FeatureSet, production: Any) -> None:
    try:
        said = differences(features, read_features(production, features.service))
    except Exception as error:  # a service that isn't there is the answer, too
        said = (f"production does not serve {features.service}: {error}",)
    run.define_metric(SAME, goal="maximize")
    run.log({SAME: 0.0 if said else 1.0})
    run.capture(KEY, {"service": features.service, "version": features.version, "differences": list(said)})
