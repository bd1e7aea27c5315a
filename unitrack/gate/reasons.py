"""Say why a metric was decided as it was. Pure words, from what `looks` found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from unitrack.gate.decision import Cause, Decision, Look, SliceDecision
from unitrack.gate.looks import SURE, Rates, Series, Track
from unitrack.gate.statistics import POWER, detectable_drop, mean_of, seeds_needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unitrack.gate.policy import MetricPolicy

__all__ = ["Finding", "detectable_of", "gap_of", "judged", "needed_of", "new_of", "of_slices", "reported_of"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its cause and reason."""

    decision: Decision
    cause: Cause
    reason: str


# -- without numbers -----------------------------------------------------------------------------


def gap_of(
    rule: MetricPolicy, seeds: Sequence[int], candidate: Sequence[float | None], baseline: Sequence[float | None]
) -> Finding | None:
    """Say why there is nothing to compare; the candidate answers for its gaps whatever the baseline has."""
    for side, values in (("candidate", candidate), ("baseline", baseline)):
        missing = [seed for seed, value in zip(seeds, values, strict=True) if value is None]
        if missing:
            neither = side == "candidate" and all(value is None for value in baseline)
            hint = " The baseline did not log it either: is the name right?" if neither else ""
            # What did not log it may not have been trained, or not be there at all.
            what = "did not log it" if side == "candidate" else "has no value"
            return _gap(rule, side, "missing", f"{what} for {_seed_list(missing)}", hint)
        bad = [seed for seed, value in zip(seeds, values, strict=True) if not _usable(value)]
        if bad:
            return _gap(rule, side, "not_finite", f"has no finite value for {_seed_list(bad)}")
    return None


_LARGEST = 1e100  # beyond it squares overflow; no metric means such a number


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and abs(value) <= _LARGEST


def _gap(rule: MetricPolicy, side: str, kind: str, what: str, hint: str = "") -> Finding:
    cause: Cause = f"{side}_{kind}"  # type: ignore[assignment]  # the four words of Cause
    if side == "candidate":
        decision = rule.missing if kind == "missing" else rule.nan
        return Finding(decision=decision, cause=cause, reason=f"The candidate {what}.{hint}")
    remedy = "name a baseline that logs it" if kind == "missing" else "name a baseline that trains well"
    return Finding(
        decision="undecided",
        cause=cause,
        reason=f"The baseline {what}: there is nothing to compare with; {remedy}.",
    )


def _seed_list(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"


def new_of(rule: MetricPolicy) -> Finding:
    """Say what comes of a metric that only the candidate logs."""
    what = "Only the candidate logs it: there is nothing to compare with"
    if rule.new == "report":
        return Finding(decision="reported", cause="new_metric", reason=f"{what}, and the policy says to report it.")
    remedy = 'name a baseline that logs it, or set `new = "report"` for it'
    return Finding(decision=rule.new, cause="new_metric", reason=f"{what}; {remedy}.")


def reported_of(series: Series) -> Finding:
    """Say what a metric that never decides came to; its decision is left out."""
    mean, margin = mean_of(series.differences), series.margins[-1]
    if series.equal >= len(series.differences):
        return _EQUAL
    if margin is None:
        words = f"The mean difference is {mean:+.6g}; it has no margin."
        return Finding(decision="reported", cause="no_margin", reason=words)
    cause: Cause = "within_margin" if mean >= -margin else "beyond_margin"
    words = f"The mean difference is {mean:+.6g}, {cause.replace('_', ' the ')} {margin:.6g}."
    return Finding(decision="reported", cause=cause, reason=words)


_EQUAL = Finding(decision="pass", cause="equal", reason="Candidate and baseline are equal in every seed.")


# -- from looks ----------------------------------------------------------------------------------


def judged(tracks: Sequence[Track], rates: Rates) -> Finding:
    """Join what a metric's tests came to: one that failed fails it, one that is open leaves it open."""
    failed = [track for track in tracks if track.state == "fail"]
    if failed:
        return _failed(failed[0])
    open_ = [track for track in tracks if track.state == "open"]
    if open_:
        return _open(open_[0], rates)
    found = [_passed(track, rates) for track in tracks]
    reasons = " ".join(dict.fromkeys(one.reason for one in found))
    return msgspec.structs.replace(found[0], reason=reasons)


def _look_at(track: Track) -> Look | None:
    return next((look for look in track.looks if look.n == track.decided_at), None)


def _pairs(n: int) -> str:
    return "one pair" if n == 1 else f"{n} pairs"


def _mean(series: Series, n: int) -> str:
    """Say the mean after n pairs: a difference, or for a limit the candidate's own."""
    mean = mean_of(series.differences[:n])
    mean = 0.0 if abs(mean) <= series.blur else mean  # rounding is no loss to tell of
    if series.bound is None:
        return f"the mean difference is {mean:+.6g}"
    return f"the mean is {series.bound.value + series.bound.sign * mean:.6g}"


def _limit(series: Series, n: int) -> str:
    if series.bound is not None:
        return f"the {series.bound.word} {series.bound.value:.6g}"
    return f"the margin {series.margins[n - 1] or 0.0:.6g}"


def _passed(track: Track, rates: Rates) -> Finding:
    series, n, look = track.series, track.decided_at or 1, _look_at(track)
    if series.bound is None and series.equal >= n:
        words = f"Candidate and baseline are equal in every metric after {_pairs(n)}, budgets aside."
        return _EQUAL if series.equal >= len(series.differences) else msgspec.structs.replace(_EQUAL, reason=words)
    if look is None:
        return Finding(
            decision="pass", cause="within_margin", reason=f"{_no_noise(series, n)} within {_limit(series, n)}."
        )
    shown = f"(p = {look.p_pass:.2g}, needed {look.pass_level:.2g})"
    if series.bound is not None:
        words = f"After {_pairs(n)} {_mean(series, n)}: it is shown to be within {_limit(series, n)} {shown}."
        return Finding(decision="pass", cause="within_margin", reason=words)
    harmed = track.test is not None and track.test.p_fail <= rates.fail_level
    worse = " It is worse, but by less than the margin." if harmed else ""
    words = (
        f"After {_pairs(n)} {_mean(series, n)}: a loss of {series.margins[n - 1]:.6g} or more is ruled out "
        f"{shown}.{worse}"
    )
    return Finding(decision="pass", cause="within_margin", reason=words)


def _no_noise(series: Series, n: int) -> str:
    if series.bound is not None:
        return f"{_mean(series, n).capitalize()} with every seed: there is no noise to test, and that is"
    mean = mean_of(series.differences[:n])
    return f"Every seed differs by {mean:+.6g}: there is no noise to test, and that is"


def _failed(track: Track) -> Finding:
    series, n, look = track.series, track.decided_at or 1, _look_at(track)
    cause: Cause = "beyond_margin" if series.bound is None else "out_of_bounds"
    limit = f"beyond {_limit(series, n)}"
    if look is None:
        words = f"{_no_noise(series, n)} {'a loss ' if series.bound is None else ''}{limit}."
        return Finding(decision="fail", cause=cause, reason=words)
    shown = f"(p = {look.p_fail:.2g}, needed {look.fail_level:.2g})"
    words = f"worse {shown} and {limit}" if series.bound is None else f"{limit} {shown}"
    return Finding(decision="fail", cause=cause, reason=f"After {_pairs(n)} {_mean(series, n)}: {words}.")


def _open(track: Track, rates: Rates) -> Finding:
    series, n = track.series, len(track.series.differences)
    if n < 2:
        words = "One seed shows no noise: run at least two, better five."
        return Finding(decision="undecided", cause="one_seed", reason=words)
    mean = _mean(series, n).capitalize()
    if track.test is None:
        words = f"{mean} with every seed, which may be an accident of so few: run {SURE} seeds at least."
        return Finding(decision="undecided", cause="noise", reason=words)
    unshown = (
        f"Neither a loss within {_limit(series, n)} nor one beyond it is shown"
        if series.bound is None
        else f"It is shown to be neither within nor beyond {_limit(series, n)}"
    )
    return Finding(decision="undecided", cause="noise", reason=f"{mean}. {unshown}: {_power_words(track, rates)}")


def _power_words(track: Track, rates: Rates) -> str:
    drop, needed, n = detectable_of(track, rates), needed_of(track, rates), len(track.series.differences)
    found = f"{n} seeds detect a drop of {drop:.3g} ({100 * rates.fail_level:.2g}% one-sided, {POWER:.0%} power); "
    if needed is None:
        return f"{found}no reasonable number of seeds would: widen the margin or make training less noisy."
    unchanged = "let an unchanged candidate pass" if track.series.bound is None else "show it"
    return f"{found}about {needed} seeds would {unchanged}." if needed > n else f"{found}more seeds would settle it."


def detectable_of(track: Track, rates: Rates) -> float | None:
    """Return the smallest drop that as many pairs as were made would show, None without noise."""
    test, margin = track.test, track.series.margins[-1]
    if test is None:
        return None
    level = rates.failing(test.n, track.share or rates.fail_level, test.df - test.n + 1)
    return float(f"{detectable_drop(test.sd, test.n, level=level, df=test.df, margin=margin or 0.0):.6g}")


def needed_of(track: Track, rates: Rates) -> int | None:
    """Return how many pairs would let an unchanged candidate pass, or one as far within a limit as this one."""
    test, margin = track.test, track.series.margins[-1]
    if test is None or margin is None:
        return None
    room = margin if track.series.bound is None else abs(test.mean)
    before = test.df - test.n + 1
    return seeds_needed(test.sd, room, level=rates.passing(rates.n_max, before), df_before=before)


# -- from slices ---------------------------------------------------------------------------------


def of_slices(finding: Finding, slices: Sequence[SliceDecision]) -> Finding:
    """Return the decision after the slices that gate: one that fails fails it, one that is open leaves it open."""
    failed = [one for one in slices if one.decision == "fail"]
    open_ = [one for one in slices if one.decision == "undecided"]
    if failed and finding.decision != "fail":
        words = "; ".join(f"{one.column} = {one.value}: {one.reason}" for one in failed[:3])
        return Finding(decision="fail", cause="slice", reason=f"{words} Over all examples: {finding.reason}")
    if open_ and finding.decision == "pass":
        words = "; ".join(f"{one.column} = {one.value}: {one.reason}" for one in open_[:3])
        return Finding(decision="undecided", cause="slice", reason=f"{words} Over all examples: {finding.reason}")
    return finding
