"""The example passes unitrack's conformance kit; its files are read back with the standard library alone."""

from __future__ import annotations

import csv
import json

import pytest

from unitrack.testing import BackendTests, HeldRun
from unitrack_example._backend import CsvFactory


class CsvTarget:
    """A folder of CSV files."""

    factory = CsvFactory()

    def __init__(self, folder):
        self._folder = folder
        self.options = {"folder": str(folder)}

    def held(self, run_id):
        folder = self._folder / run_id
        if not (folder / "run.json").exists():
            return []
        about = json.loads((folder / "run.json").read_text())
        with (folder / "values.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        status = about["status"]
        return [HeldRun(status=None if status == "running" else status, params=params(rows), metrics=metrics(rows))]


def params(rows):
    """Return params by path; the last row of a name counts."""
    return {row["name"]: row["value"] for row in rows if row["kind"] == "params"}


def metrics(rows):
    """Return (step, value) by name, in order of step, then time."""
    found = {}
    for row in rows:
        if row["kind"] == "metrics":
            step = float(row["step"]) if row["step"] else None
            value = float({"true": "1", "false": "0"}.get(row["value"], row["value"]))
            found.setdefault(row["name"], []).append((step, float(row["time"]), value))
    ordered = {
        name: sorted(some, key=lambda one: (one[0] is not None, one[0] or 0, one[1])) for name, some in found.items()
    }
    return {name: [(step, value) for step, _, value in some] for name, some in ordered.items()}


class TestCsv(BackendTests):
    @pytest.fixture
    def target(self, tmp_path):
        return CsvTarget(tmp_path / "csv")
