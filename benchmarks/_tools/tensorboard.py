"""TensorBoard's event file writer, what `torch.utils.tensorboard` writes through."""

from __future__ import annotations

import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class Adapter:
    """One event a metric, as `add_scalar` makes them."""

    def start(self, folder: Path) -> None:
        self.writer = EventFileWriter(str(folder))

    def log(self, values: dict[str, float], *, step: int) -> None:
        for name, value in values.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def finish(self) -> None:
        self.writer.close()

    def count_left(self, folder: Path) -> int:
        return count_scalars(folder)


def count_scalars(folder: Path) -> int:
    """Count the values of `loss` with TensorBoard's own loader."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    files = folder.rglob("events.out.tfevents.*")
    events = (event for file in files for event in LegacyEventFileLoader(str(file)).Load())
    return sum(value.tag == "loss" for event in events for value in event.summary.value)
