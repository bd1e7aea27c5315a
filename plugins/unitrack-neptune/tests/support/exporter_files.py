"""Data in neptune-exporter's exact schema: columns, types, Snappy, parts, digests in folder names.

Neptune is closed, so no real export can be made; schema and naming are those of the exporter's public source.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

UTC_MS = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", UTC_MS),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", UTC_MS),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct([("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]),
        ),
    ]
)
COLUMN = {
    "float_series": "float_value", "string_series": "string_value", "histogram_series": "histogram_value",
    "file_series": "file_value", "file_set": "file_value", "artifact": "file_value",
}  # fmt: skip


def safe(part):
    """Return a name as the exporter makes it fit for a path."""
    word = "".join(sign if sign.isalnum() or sign in "_-" else "_" for sign in part)
    return f"{word}-{hashlib.blake2b(part.encode(), digest_size=8).hexdigest()}"


def row(path, kind, value, step=None, time=None):
    """Return a row of a run; `step` is what Decimal takes, `time` milliseconds."""
    made = {"attribute_path": path, "attribute_type": kind, "timestamp": time}
    made["step"] = None if step is None else Decimal(step).quantize(Decimal("1.000000"))
    made[COLUMN.get(kind, f"{kind}_value")] = value
    return made


class Export:
    """An export: `data/<project>/<run>_part_<n>.parquet`, `files/<project>/...`."""

    def __init__(self, root, project="w/p"):
        self.root, self.project = root, project
        self.data, self.files = root / "data", root / "files"

    def part(self, run, number, rows, *, schema=SCHEMA, name=None):
        """Write a part, each 1,000 rows as one row group, as the exporter appends batches."""
        folder = self.data / safe(self.project)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{safe(name or run)}_part_{number}.parquet"
        with pq.ParquetWriter(path, schema, compression="snappy") as writer:
            for start in range(0, len(rows), 1000):
                some = [{"project_id": self.project, "run_id": run, **one} for one in rows[start : start + 1000]]
                writer.write_batch(pa.RecordBatch.from_pylist(some, schema=schema))
        return path

    def file(self, path, data):
        """Put a downloaded file where `file_value.path` says."""
        target = self.files / safe(self.project) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return {"path": path}
