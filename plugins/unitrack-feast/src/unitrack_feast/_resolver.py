"""The resolver `feast`: the version of a feature service."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec

from unitrack.hookspecs import DatasetVersion
from unitrack_feast._store import open_store, read_features

__all__ = ["FeastResolver", "parse"]


class FeastResolver:
    """Answers for `feast://FOLDER?service=NAME`, FOLDER being that of `feature_store.yaml`."""

    name = "feast"

    def resolve(self, uri: str) -> DatasetVersion | None:
        """Return the hash of the service's specification, None for other URIs."""
        if not uri.startswith("feast://"):
            return None
        folder, service = parse(uri)
        features = read_features(open_store(folder), service)
        about = msgspec.to_builtins(features)
        return DatasetVersion(
            uri=uri, version=features.version, digest=f"sha256:{features.version}", metadata={"feast": about}
        )


def parse(uri: str) -> tuple[str, str]:
    """Return folder and service. Raises ValueError that says how to write it."""
    parts = urlsplit(uri)
    services = parse_qs(parts.query).get("service", [])
    if len(services) != 1:
        raise ValueError(f"{uri} names no service: feast://feature_repo?service=NAME")
    return f"{parts.netloc}{parts.path}" or ".", services[0]
