"""Test feature by feature whether fresh data are distributed as those that the model was trained on.

A feature drifts if a difference is both shown and large: its p-value, adjusted over all tests of a check (Benjamini
and Hochberg 1995), is at most the level, and its size is at least a threshold that does not depend on how many rows
there are. Either alone would not do: a million rows show differences that matter to nobody, a hundred rows have large
ones by chance.

| test | of | p-value | size, 0 for none |
| --- | --- | --- | --- |
| `ks` | numbers | two-sample Kolmogorov-Smirnov | its statistic: the largest distance of the distribution functions |
| `wasserstein` | numbers | permutations of up to 2,000 rows a side | distance in robust standard deviations |
| `jensen_shannon` | categories | chi-square, rare ones together | its distance, base 2, less chance's part |
| `chi2` | categories | the same | Cramer's V, less chance's part |

Besides, for every feature: the share of missing values (Fisher's exact test), and for categories the share of rows in
categories that the reference never had, against the share that would be expected of them (Good 1953). Pure and
deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from unitrack.gate.statistics import benjamini_hochberg, rounded
from unitrack.monitor.feature_tests import CATEGORIES, NUMBERS, Raw, Test, TestName, missing_test, unseen_test
from unitrack.monitor.samples import Column, Sample

if TYPE_CHECKING:
    from unitrack.config import CheckSettings, DriftRule

__all__ = ["Aspect", "FeatureDrift", "State", "find_drift"]

State = Literal["drift", "unclear", "stable", "untested"]

_IDS: Final = 100  # categories; with more, of which each holds few rows, a column is one of ids
_ORDER: tuple[State, ...] = ("drift", "unclear", "stable", "untested")


class Aspect(msgspec.Struct, frozen=True, kw_only=True):
    """One test of one feature. `size` is to be compared with `threshold`, `adjusted` with the level."""

    what: Literal["distribution", "missing", "unseen"]
    test: TestName
    state: State
    size: float
    threshold: float
    p: float
    adjusted: float


class FeatureDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one feature. `state` is the worst of its tests'; `gates` is false if it is only shown.

    Shares are of rows: `missing_*` without a value, `unseen` in categories that the reference lacks, of which `new`
    names a few.
    """

    feature: str
    kind: str
    state: State
    reason: str
    gates: bool = True
    missing_reference: float = 0.0
    missing_fresh: float = 0.0
    unseen: float | None = None
    new: tuple[str, ...] = ()
    aspects: tuple[Aspect, ...] = ()

    @property
    def distribution(self) -> Aspect | None:
        """The test of its values."""
        return next((one for one in self.aspects if one.what == "distribution"), None)


class _Tested(msgspec.Struct, frozen=True, kw_only=True):
    reference: Column
    fresh: Column
    raws: tuple[Raw, ...]
    gates: bool
    untested: str | None
    unseen: float | None
    new: tuple[str, ...]


def find_drift(reference: Sample, fresh: Sample, check: CheckSettings) -> tuple[FeatureDrift, ...]:
    """Test all columns that both sides have, in the order of the reference, but those to ignore."""
    rules = {rule.feature: rule for rule in check.drift}
    tested = []
    for column in reference.columns:
        other = fresh.column(column.name)
        if other is not None and column.name not in check.ignore:
            rows = reference.rows, fresh.rows
            tested.append(_test(column, other, rows, rules.get(column.name), check))
    adjusted = iter(benjamini_hochberg([raw.p for one in tested for raw in one.raws]))
    return tuple(
        _found(one, [_aspect(raw, next(adjusted), check.level) for raw in one.raws], reference, fresh) for one in tested
    )


def _aspect(raw: Raw, adjusted: float, level: float) -> Aspect:
    large, shown = raw.size >= raw.threshold, adjusted <= level
    return Aspect(
        what=raw.what,
        test=raw.test,
        state="stable" if not large else "drift" if shown else "unclear",
        size=rounded(raw.size),
        threshold=raw.threshold,
        p=rounded(raw.p),
        adjusted=adjusted,
    )


def _found(one: _Tested, aspects: Sequence[Aspect], reference: Sample, fresh: Sample) -> FeatureDrift:
    states = {aspect.state for aspect in aspects} or {"untested"}
    if states == {"stable"} and one.untested:
        states = {"untested"}
    missing = one.reference.missing / max(reference.rows, 1), one.fresh.missing / max(fresh.rows, 1)
    return FeatureDrift(
        feature=one.reference.name,
        kind=one.reference.kind,
        state=min(states, key=_ORDER.index),
        reason=" ".join([*map(_in_words, (a for a in aspects if a.state in ("drift", "unclear"))), one.untested or ""])
        .strip() or "no difference that is large and shown",
        gates=one.gates,
        missing_reference=rounded(missing[0]),
        missing_fresh=rounded(missing[1]),
        unseen=one.unseen,
        new=one.new,
        aspects=tuple(aspects),
    )  # fmt: skip


_WORDS = {
    "distribution": "its values are distributed otherwise",
    "missing": "another share of it is missing",
    "unseen": "it has categories that the reference lacks",
}


def _in_words(one: Aspect) -> str:
    shown = f"{one.test} {one.size:.3g}, threshold {one.threshold:g}, adjusted p {one.adjusted:.2g}"
    if one.state == "drift":
        return f"{_WORDS[one.what]} ({shown})."
    return f"It looks as if {_WORDS[one.what]}, and there are too few rows to show it ({shown})."


# -- one feature ---------------------------------------------------------------------------------


def _test(
    reference: Column, fresh: Column, rows: tuple[int, int], rule: DriftRule | None, check: CheckSettings
) -> _Tested:
    accepted = check.missing if rule is None or rule.missing is None else rule.missing
    raws = missing_test((reference.missing, fresh.missing), rows, accepted)
    unseen: float | None = None
    new: tuple[str, ...] = ()
    untested: str | None = None
    threshold = check.threshold if rule is None or rule.threshold is None else rule.threshold
    name = "auto" if rule is None else rule.test
    try:
        ours, theirs, test = _comparable(reference, fresh, name)
        raws.append(test(ours, theirs, threshold))
        if ours.kind == "category":
            found, unseen, new = unseen_test(ours, theirs, check.unseen)
            raws.append(found)
    except _UntestableError as error:
        untested = str(error)
    return _Tested(
        reference=reference, fresh=fresh, raws=tuple(raws), gates=rule is None or rule.role != "report",
        untested=untested, unseen=unseen, new=new,
    )  # fmt: skip


class _UntestableError(Exception):
    """Says why the values of a feature are not compared."""


def _comparable(reference: Column, fresh: Column, name: str) -> tuple[Column, Column, Test]:
    """Return both sides in the terms of a test, and the test."""
    if "empty" in (reference.kind, fresh.kind) or not reference.present or not fresh.present:
        raise _UntestableError("A side has no values: nothing to compare.")
    if reference.kind != fresh.kind:
        raise _UntestableError(f"It holds {fresh.kind} values instead of {reference.kind}: nothing to compare.")
    if reference.kind not in ("number", "category"):
        raise _UntestableError(f"Its values are of the kind {reference.kind!r}, which no test is for.")
    if reference.kind == "number" and name in ("chi2", "jensen_shannon"):
        reference, fresh = _as_categories(reference), _as_categories(fresh)
    if reference.kind == "category":
        if name in ("ks", "wasserstein"):
            raise _UntestableError(f"The test {name!r} is for numbers, and it holds texts.")
        _refuse_ids(reference)
        return reference, fresh, CATEGORIES["jensen_shannon" if name == "auto" else name]
    return reference, fresh, NUMBERS["ks" if name == "auto" else name]


def _as_categories(column: Column) -> Column:
    import numpy as np

    values, counts = np.unique(column.numbers, return_counts=True)
    named = {f"{value:.17g}": int(count) for value, count in zip(values, counts, strict=True)}
    return Column(name=column.name, type=column.type, kind="category", missing=column.missing, counts=named)


def _refuse_ids(column: Column) -> None:
    distinct = len(column.counts or ())
    if distinct > _IDS and distinct * 2 > column.present:
        raise _UntestableError("Nearly every row has a text of its own: it looks like ids or free text.")
