"""What TensorBoard's own reader, the EventAccumulator, finds: the other way to the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["tensors"]


def tensors(path: Path) -> dict[str, tuple[str, list[Any]]]:
    """Return, for each tag of an event file or of a folder's, the plugin it belongs to and all its tensors."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), size_guidance={"tensors": 0}, purge_orphaned_data=False)
    found.Reload()
    plugins = {tag: made.plugin_data.plugin_name for tag, made in found.AllSummaryMetadata().items()}
    return {
        tag: (plugins.get(tag, ""), [event.tensor_proto for event in found.Tensors(tag)])
        for tag in found.Tags()["tensors"]
    }
