"""Neptune's later client by its own names: `from unitrack.compat.neptune_scale import Run`. See docs/compat.md."""

from __future__ import annotations

from unitrack.compat._support import refusing
from unitrack.compat.neptune_scale import types
from unitrack.compat.neptune_scale._run import Run
from unitrack.compat.neptune_scale.types import File, Histogram

__all__ = ["File", "Histogram", "Run", "types"]

UNSUPPORTED = {
    "projects": "projects are made by logging into them",
    "create_project": "projects are made by logging into them",
    "SourceTrackingConfig": "unitrack captures the commit by itself",
    "NeptuneFetcher": "read runs back with unitrack.runs() and unitrack.get_run(id)",
}
__getattr__ = refusing("neptune_scale", UNSUPPORTED, "see docs/compat.md for what there is, or call unitrack's own")
