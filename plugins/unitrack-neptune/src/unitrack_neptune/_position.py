"""How far a run has come in Neptune, durable: beside the offline files, or with the run where Neptune is a server.

Neptune's clients only write: what a series holds last can't be asked. So it is kept here, together with what was
done, in one file that is replaced whole. A file that is lost makes a new `generation`, and the run is sent again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from unitrack.backend import Lowering
from unitrack.errors import FatalBackendError
from unitrack.files import write_atomic
from unitrack_neptune._steps import Series

__all__ = ["Position", "load_position", "save_position"]

_MOST_TOLD = 1000


class Position(msgspec.Struct, kw_only=True):
    """What is done with, and what must be known to go on.

    `mark` says how long the offline files are: what lies beyond was written by a batch that was cut off.
    """

    generation: str
    writers: dict[str, int] = {}
    gaps: dict[str, list[tuple[int, int]]] = {}
    """The events of each writer that were passed over, first and last: dead letters, which may be offered again."""
    series: dict[str, Series] = {}
    fields: dict[str, str] = {}
    names: dict[str, str] = {}
    digests: dict[str, str] = {}
    mark: tuple[int, ...] = ()
    created: bool = False
    head: str = ""
    lowered: list[Lowering] = []
    """What was told to the user, to be told again when the run is offered again."""
    report: str = ""

    def has(self, writer: str, seq: int) -> bool:
        """Tell whether Neptune holds the event."""
        gaps = self.gaps.get(writer, ())
        return seq <= self.writers.get(writer, 0) and not any(first <= seq <= last for first, last in gaps)

    def knows(self, acked: Mapping[str, int]) -> bool:
        """Tell whether it is as new as what was acked; after a power cut it may be older than the cursor."""
        return all(seq <= self.writers.get(writer, 0) for writer, seq in acked.items())

    def told(self, lowered: Iterable[Lowering]) -> None:
        """Keep what was told, each once and not without end."""
        known = {(one.kind, one.name) for one in self.lowered}
        fresh = [one for one in lowered if (one.kind, one.name) not in known]
        self.lowered = [*self.lowered, *fresh][:_MOST_TOLD]

    def pass_to(self, writer: str, seq: int, *, held: bool) -> None:
        """Take note that the event is done with: held by Neptune, or given up for now."""
        last = self.writers.get(writer, 0)
        if seq <= last:
            self._fill(writer, seq, held=held)
            return
        if seq > last + 1:
            self.gaps.setdefault(writer, []).append((last + 1, seq - 1))
        if not held:
            self.gaps.setdefault(writer, []).append((seq, seq))
        self.writers[writer] = seq

    def _fill(self, writer: str, seq: int, *, held: bool) -> None:
        if not held:
            return
        rest: list[tuple[int, int]] = []
        for first, last in self.gaps.get(writer, []):
            pieces = [(first, seq - 1), (seq + 1, last)] if first <= seq <= last else [(first, last)]
            rest += [(low, high) for low, high in pieces if low <= high]
        self.gaps[writer] = rest


def load_position(path: Path, acked: Mapping[str, int]) -> Position:
    """Return the position kept at `path`; that of a run that was never sent if there is none, or an older one.

    Raises FatalBackendError.
    """
    try:
        position = msgspec.json.decode(path.read_bytes(), type=Position)
    except FileNotFoundError:
        return _fresh()
    except msgspec.DecodeError as error:
        raise FatalBackendError(f"{path} is damaged ({error}): remove it, and the run is sent once more") from error
    return position if position.knows(acked) else _fresh()


def _fresh() -> Position:
    return Position(generation=os.urandom(4).hex())


def save_position(path: Path, position: Position) -> None:
    """Keep the position. It is not synced to disk: one that a power cut took is found out by what was acked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, msgspec.json.encode(position), durable=False)
