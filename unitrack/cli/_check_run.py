"""The monitoring run of a check: what it keeps of the result, and what earlier ones tell."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from unitrack.alerts import Message
from unitrack.monitor import encode
from unitrack.reader import runs
from unitrack.report import check_html
from unitrack.report.check_terminal import MOST_FEATURES, ranked_features

if TYPE_CHECKING:
    from unitrack.monitor import Check
    from unitrack.run import Run

__all__ = ["KIND", "earlier_differences", "keep", "message_of"]

KIND = "monitoring"
"""The tag of all runs of a check, and of the check's own run the value of its tag `kind`."""

_DIFFERENCE = "difference/"
_MOST_LOGGED = 1000
_NAMED = 3


def keep(run: Run, check: Check) -> None:
    """Log a result as tags, metrics, tables, a page, and the file `check.json`."""
    run.set_tags(outcome=check.outcome, data="" if check.fresh is None else check.fresh.digest or "")
    for one in check.metrics:
        if isinstance(one.fresh, float):
            run.log({one.name: one.fresh})
        if one.difference is not None:
            run.log({f"{_DIFFERENCE}{one.name}": one.difference})
    tested = [(one.feature, found.size) for one in check.features if (found := one.distribution) is not None]
    for feature, size in tested[:_MOST_LOGGED]:
        run.log({f"drift/{feature}": size})
    run.log({"drifted": len(check.drifted), "worse": len(check.worse)})
    run.summary["outcome"], run.summary["summary"] = check.outcome, check.summary
    _log_tables(run, check)
    run.log_html("check", check_html.render(check))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "check.json")
        path.write_bytes(encode(check))
        run.log_artifact(path, kind="check")


def _log_tables(run: Run, check: Check) -> None:
    features = [
        {
            "feature": one.feature, "state": one.state, "test": found.test if found else None,
            "size": found.size if found else None, "adjusted": found.adjusted if found else None,
            "missing": one.missing_fresh, "missing before": one.missing_reference, "unseen": one.unseen,
            "reason": one.reason,
        }
        for one in ranked_features(check)[:MOST_FEATURES]
        for found in (one.distribution,)
    ]  # fmt: skip
    metrics = [
        {
            "metric": one.name, "decision": one.decision, "fresh": one.fresh, "promotion": one.reference,
            "difference": one.difference, "lower": one.lower, "upper": one.upper, "reason": one.reason,
        }
        for one in check.metrics
    ]  # fmt: skip
    for name, rows in (("features", features), ("metrics", metrics)):
        if rows:
            run.log_table(name, rows)


def earlier_differences(store: Path, *, project: str, model: str, data: str, without: str) -> dict[str, list[float]]:
    """Return by metric what earlier checks of a version found, oldest first: each set of fresh data counts once.

    Those that found it worse are left out: a model that broke would forgive itself. So are checks of the same data as
    now, and differences that are equal to the last digit: they are the same data, whoever named them.
    """
    found: dict[str, list[float]] = {}
    seen = {data} if data else set()
    for view in reversed(runs(project=project, status="finished", tags=KIND, dir=store)):
        tags = view.tag_values
        if (
            tags.get("kind") != KIND
            or tags.get("model") != model
            or view.id == without
            or tags.get("outcome") == "fail"
        ):
            continue
        if view.damaged or (digest := tags.get("data", "")) in seen:
            continue
        seen |= {digest} - {""}
        for name, info in view.metrics.items():
            if name.startswith(_DIFFERENCE) and info.last not in found.setdefault(name.removeprefix(_DIFFERENCE), []):
                found[name.removeprefix(_DIFFERENCE)].append(info.last)
    return found


def message_of(check: Check) -> Message:
    """Return what people are told of a check that failed."""
    reasons = [f"{one.name}: {one.reason}" for one in check.metrics if one.decision == "fail"]
    reasons += [f"{one.column}: {one.what}, {one.reason}" for one in check.changes if one.gates]
    reasons += [f"{one.feature}: {one.reason}" for one in check.features if one.gates and one.state == "drift"]
    more = [f"and {len(reasons) - _NAMED} more"] if len(reasons) > _NAMED else []
    return Message(
        title=f"{check.model} is worse on fresh data" if check.worse else f"The data of {check.model} drift",
        text="\n".join([*reasons[:_NAMED], *more]),
        level="error" if check.worse else "warning",
        about=f"monitoring run {check.run}: unitrack show {check.run}",
    )
