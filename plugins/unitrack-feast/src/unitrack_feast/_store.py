"""Read a feature service out of a store of Feast's."""

from __future__ import annotations

from typing import Any

from unitrack_feast._features import FeatureSet, of_specs

__all__ = ["open_store", "read_features"]


def open_store(repo_path: str) -> Any:
    """Return the `FeatureStore` of the folder that holds `feature_store.yaml`."""
    from feast import FeatureStore

    return FeatureStore(repo_path=repo_path)


def read_features(store: Any, service: str) -> FeatureSet:
    """Return what a feature service of a `feast.FeatureStore` serves. Raises what Feast raises if there is none."""
    found = store.get_feature_service(service)
    names = dict.fromkeys(projection.name for projection in found.feature_view_projections)
    views = {name: _spec(store.registry.get_any_feature_view(name, store.project)) for name in names}
    return of_specs(_spec(found), views)


def _spec(thing: Any) -> Any:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(thing.to_proto().spec, preserving_proto_field_name=True)
