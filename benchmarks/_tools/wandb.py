"""W&B, offline, without console capture, code saving and system metrics."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}

import wandb

_BLOCK, _FILE_HEADER, _RECORD = 32768, 7, struct.Struct("<IHB")
_FULL, _LAST = 1, 4


class Adapter:
    """`Run.log` itself."""

    def start(self, folder: Path) -> None:
        settings = wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, save_code=False)
        self.run = wandb.init(project="benchmark", dir=str(folder), mode="offline", settings=settings)
        self.log = self.run.log

    def finish(self) -> None:
        self.run.finish()

    def count_left(self, folder: Path) -> int:
        from wandb.proto.wandb_internal_pb2 import Record

        left = 0
        for path in folder.rglob("*.wandb"):
            for data in _records(path.read_bytes()):
                items = Record.FromString(data).history.item
                left += any("loss" in (item.key, *item.nested_key) for item in items)
        return left


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of a `.wandb` file, which is a LevelDB log behind a header of seven bytes."""
    at, parts = _FILE_HEADER, b""
    while at + _RECORD.size <= len(data):
        room = _BLOCK - at % _BLOCK
        if room < _RECORD.size:
            at += room
            continue
        _, size, kind = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if kind == 0 or at + size > len(data):
            return
        parts += data[at : at + size]
        at += size
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
