"""What a run logged, in the plainest form, to compare it with what a tracker kept."""

from __future__ import annotations

import unitrack
from unitrack.journal.layout import objects_dir
from unitrack.objects import ObjectStore


def points(view: unitrack.RunView) -> dict[str, list[tuple[float | None, float]]]:
    """Return (step, value) of each metric in order of logging."""
    return {
        name: [
            (None if step != step else step, value)
            for step, value in zip(view.series(name).steps, view.series(name).values, strict=True)
        ]
        for name in view.metrics
    }


def files(view: unitrack.RunView) -> dict[str, bytes]:
    """Return the bytes of all files that were logged, by path."""
    store = ObjectStore(objects_dir(view.path.parents[1]))
    found = {}
    for artifact in view.artifacts:
        if artifact.use == "output" and artifact.digest:
            if artifact.tree:
                for entry in store.manifest(artifact.digest).files:
                    found[f"{artifact.name}/{entry.path}"] = store.get(entry.digest).read_bytes()
            else:
                found[artifact.name] = store.get(artifact.digest).read_bytes()
    return found
