"""What a model version came to when it was promoted: by its run, by the verdict that let it in, by the registry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from unitrack.errors import UnitrackError
from unitrack.gate.evidence import value_of
from unitrack.gate.statistics import mean_of
from unitrack.model import restore
from unitrack.monitor.comparing import Promoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from unitrack.gate.decision import MetricDecision, Value
    from unitrack.gate.policy import Policy
    from unitrack.gate.verdict import Verdict
    from unitrack.reader import RunView
    from unitrack.registry import ModelVersion

__all__ = ["promoted_as"]


def promoted_as(
    version: ModelVersion, policy: Policy, verdict: Verdict | None, open_run: Callable[[str], RunView]
) -> Promoted:
    """Return a version's own numbers: from the trusted evaluation of its run, its run, the verdict, the registry.

    The first of these that can be read counts, metric by metric. `verdict` is the one about its commit, if there is
    one: it tells which run was the evaluation's, and what the other seeds came to.
    """
    view, source = _run(version, verdict, open_run)
    values: dict[str, float] = {}
    seeds: dict[str, tuple[Value, ...]] = {}
    for rule in policy.metrics:
        decided = None if verdict is None else next((one for one in verdict.metrics if one.name == rule.name), None)
        if decided is not None:
            seeds[rule.name] = decided.candidate
        found = [
            None if view is None else _number(value_of(view, rule)),
            None if decided is None or verdict is None else _of_verdict(version, verdict, decided),
            _number(version.metrics.get(rule.name)),
        ]
        known = [value for value in found if value is not None]
        if known:
            values[rule.name] = known[0]
    return Promoted(source=source, run=view, values=values, seeds=seeds)


def _run(
    version: ModelVersion, verdict: Verdict | None, open_run: Callable[[str], RunView]
) -> tuple[RunView | None, str]:
    mine = [] if verdict is None else [one for one in verdict.candidate.runs if one.run == version.run]
    named = [*(one.evaluation for one in mine if one.evaluation is not None), version.run]
    for run in named:
        try:
            view = open_run(run)
            if view.status == "finished" and not view.lost and not view.damaged:
                return view, f"run {run}"
        except UnitrackError:
            continue
    return None, "the registry" if verdict is None else f"verdict {verdict.key[:16]}"


def _of_verdict(version: ModelVersion, verdict: Verdict, decided: MetricDecision) -> float | None:
    """Return the value of the seed whose model was registered, or the mean over seeds."""
    own = [at for at, one in enumerate(verdict.candidate.runs) if one.run == version.run]
    chosen = [decided.candidate[at] for at in own if at < len(decided.candidate)] or decided.candidate
    numbers = [_number(value) for value in chosen]
    known = [number for number in numbers if number is not None]
    return mean_of(known) if known and len(known) == len(numbers) else None


def _number(value: Any) -> float | None:
    number = restore(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        return None
    return float(number)
