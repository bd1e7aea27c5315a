"""The result of `unitrack check`: drift, metrics, and what they come to together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from unitrack.gate.decision import Outcome
from unitrack.monitor.changes import SchemaChange
from unitrack.monitor.comparing import MetricCheck
from unitrack.monitor.drift import FeatureDrift

__all__ = ["Check", "DataSide", "encode", "exit_code", "outcome_of", "summary_of"]

SCHEMA_VERSION: Final = 1
_NAMED = 5


class DataSide(msgspec.Struct, frozen=True, kw_only=True):
    """Data that were compared: where from, how many rows of how many were read, and their digest if it is known."""

    source: str
    rows: int
    total: int
    digest: str | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """How the model in production does. Times are epoch seconds, given by the caller.

    `run` is the monitoring run, `evaluation` its child in which the command logged, `model` the version that was
    checked. `level` is the false discovery rate of `features`. `promotion` says where the reference values are from.
    """

    schema: Literal[1] = SCHEMA_VERSION
    outcome: Outcome
    summary: str
    created: float
    unitrack: str
    project: str
    model: str
    digest: str
    trained_by: str
    run: str
    evaluation: str | None = None
    commit: str | None = None
    promotion: str = ""
    reference: DataSide | None = None
    fresh: DataSide | None = None
    level: float = 0.01
    changes: tuple[SchemaChange, ...] = ()
    features: tuple[FeatureDrift, ...] = ()
    metrics: tuple[MetricCheck, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[str, ...]:
        """The features, and changed columns, whose drift counts."""
        return _drifted(self.changes, self.features)

    @property
    def worse(self) -> tuple[str, ...]:
        """The metrics that are worse."""
        return tuple(one.name for one in self.metrics if one.decision == "fail")


def _drifted(changes: Sequence[SchemaChange], features: Sequence[FeatureDrift]) -> tuple[str, ...]:
    columns = [one.column for one in changes if one.gates]
    columns += [one.feature for one in features if one.gates and one.state == "drift"]
    return tuple(dict.fromkeys(columns))


def _open(features: Sequence[FeatureDrift], metrics: Sequence[MetricCheck]) -> list[str]:
    unclear = [one.feature for one in features if one.gates and one.state == "unclear"]
    return [*(one.name for one in metrics if one.decision == "undecided"), *unclear]


def outcome_of(
    changes: Sequence[SchemaChange],
    features: Sequence[FeatureDrift],
    metrics: Sequence[MetricCheck],
    *,
    lost: bool = False,
) -> Outcome:
    """Join what was found: drift or a metric that is worse fails, what is not shown either way leaves it open.

    So do data that are `lost`, and a check that decided nothing.
    """
    if _drifted(changes, features) or any(one.decision == "fail" for one in metrics):
        return "fail"
    held = any(one.decision == "pass" for one in metrics) or any(one.state == "stable" for one in features)
    return "pass" if held and not lost and not _open(features, metrics) else "undecided"


def summary_of(
    changes: Sequence[SchemaChange],
    features: Sequence[FeatureDrift],
    metrics: Sequence[MetricCheck],
    *,
    lost: bool = False,
) -> str:
    """Say it in a few sentences."""
    worse = [one.name for one in metrics if one.decision == "fail"]
    drifted, gating = _drifted(changes, features), [one for one in metrics if one.decision != "reported"]
    tested = sum(one.state != "untested" for one in features)
    parts = []
    if worse:
        parts.append(f"{len(worse)} of {len(gating)} metrics are worse on fresh data: {_some(worse)}.")
    if drifted:
        parts.append(
            f"{len(drifted)} of {len({*drifted, *(one.feature for one in features)})} features drift: {_some(drifted)}."
        )
    undecided = _open(features, metrics)
    if undecided:
        parts.append(f"Not shown either way: {_some(undecided)}.")
    if not parts and gating:
        parts.append(f"No metric of {len(gating)} lost more than its margin allows.")
    if not drifted and features:
        parts.append(f"No drift is shown in {tested} features.")
    if lost:
        parts.append("Drift could not be tested: the data are gone.")
    return " ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(name[:80] for name in names[:_NAMED]) + more


def exit_code(check: Check) -> int:
    """Return what `unitrack check` ends with: 0 fine, 1 worse or drifted, 3 undecided."""
    return {"pass": 0, "fail": 1, "undecided": 3}[check.outcome]


def encode(check: Check) -> bytes:
    """Return the result as JSON."""
    return msgspec.json.format(msgspec.json.encode(check), indent=2) + b"\n"
