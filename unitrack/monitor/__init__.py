"""How the model in production does on fresh data: drift of its features, and its metrics against the promotion's."""

from unitrack.monitor.changes import SchemaChange, schema_changes
from unitrack.monitor.comparing import MetricCheck, Promoted, compare_metrics
from unitrack.monitor.drift import FeatureDrift, find_drift
from unitrack.monitor.record import Check, DataSide, encode, exit_code, outcome_of, summary_of
from unitrack.monitor.samples import Column, Sample

__all__ = [
    "Check", "Column", "DataSide", "FeatureDrift", "MetricCheck", "Promoted", "Sample", "SchemaChange",
    "compare_metrics", "encode", "exit_code", "find_drift", "outcome_of", "schema_changes", "summary_of",
]  # fmt: skip
