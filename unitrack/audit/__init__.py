"""Which of a run's sources can be named again: one list of items, each with evidence and what would satisfy it.

The items follow the phases of the reproducibility table of ml-ops.org (MLOps Principles) and the steps of
CRISP-DM 1.0 (Chapman and others, 2000). Pure: an audit reads runs, and asks nobody.
"""

from unitrack.audit.items import ITEMS, PHASES, Item
from unitrack.audit.record import Audit, Checked, Finding, Phase, Step, Surroundings, audit_run, encode, examine

__all__ = [
    "ITEMS", "PHASES", "Audit", "Checked", "Finding", "Item", "Phase", "Step", "Surroundings", "audit_run", "encode",
    "examine",
]  # fmt: skip
