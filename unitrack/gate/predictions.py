"""Read the predictions that runs logged, pair both sides' by id, and compare them: as a whole and slice by slice.

Both sides of a seed must have been measured on the same examples: equal ids, labels, classes, split and slice
columns. Where they were not, that is said as a finding, and the metric never passes. Rows are taken in the order of
their ids, so their order in a file changes no figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Union

from unitrack.errors import EvidenceError, UnitrackError, UsageError
from unitrack.gate.decision import ExampleTest, SliceDecision
from unitrack.gate.example_metrics import METRICS, Answers, positives, value_of
from unitrack.gate.examples import Comparison, Pair, compare
from unitrack.gate.reasons import Finding
from unitrack.gate.statistics import rounded

if TYPE_CHECKING:
    from unitrack.config import ExampleMetric
    from unitrack.gate.policy import MetricPolicy
    from unitrack.media.predictions import Predictions
    from unitrack.reader import RunView

__all__ = ["MOST_SLICES", "Examples", "Measured", "answers_of"]

MOST_SLICES: Final = 1000
"""Values of one slice column beyond which it is taken for a column of ids."""

_OF_NUMBERS: Final = frozenset({"mae", "mse", "rmse", "r2"})
_LONGEST = 200  # characters of a reason that a file is no predictions


@dataclass(frozen=True, slots=True)
class _Logged:
    """One run's predictions and the order of their rows by id."""

    found: Predictions
    order: list[int]

    def column(self, cells: Sequence[Any]) -> list[Any]:
        """Return a column in the order of the ids."""
        return [cells[at] for at in self.order]


@dataclass(frozen=True, slots=True)
class _Group:
    """The pairs of all seeds, cut down to the examples that share a cell; `size` counts these examples."""

    value: str
    size: int
    pairs: list[Pair]


@dataclass(frozen=True, slots=True)
class Measured:
    """What the predictions of all seeds tell of one metric: values, tests, slices not yet judged.

    `unfit` says why both sides can't be compared, `notes` why a side has no value.
    """

    candidate: tuple[float | None, ...]
    baseline: tuple[float | None, ...]
    examples: ExampleTest | None = None
    slices: tuple[SliceDecision, ...] = ()
    unfit: Finding | None = None
    notes: tuple[str, ...] = ()


_Found = Union[_Logged, str, None]  # what was logged, why it is unusable, or nothing


class Examples:
    """The predictions of a gate's runs: each is read once, and each pair made once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], _Found] = {}
        self._values: dict[tuple[str, str, ExampleMetric], tuple[float | None, str | None]] = {}
        self._pairs: dict[tuple[tuple[str, ...], str], list[Pair]] = {}
        self._groups: dict[tuple[tuple[str, ...], str, str], list[_Group]] = {}

    def value(self, view: RunView, rule: MetricPolicy) -> float | None:
        """Return a run's value of the metric; None where nothing gives it, NaN where predictions are unusable."""
        return self._value(view, rule)[0]

    def measure(
        self, rule: MetricPolicy, candidate: Sequence[RunView], baseline: Sequence[RunView], *, whole: bool = True
    ) -> Measured:
        """Compare both sides' runs, seed by seed. Without `whole` only what decides is worked out."""
        ours, theirs = ([self._value(view, rule) for view in side] for side in (candidate, baseline))
        made = Measured(
            candidate=tuple(value for value, _ in ours),
            baseline=tuple(value for value, _ in theirs),
            notes=tuple(dict.fromkeys(note for _, note in (*ours, *theirs) if note is not None)),
        )
        if not all(value is not None and math.isfinite(value) for value in (*made.candidate, *made.baseline)):
            return made
        unfit = self._unfit(rule, candidate, baseline)
        if unfit is not None:
            return _with(made, unfit=unfit)
        return self._compared(made, rule, candidate, baseline, whole=whole)

    # -- one run -------------------------------------------------------------------------------

    def _value(self, view: RunView, rule: MetricPolicy) -> tuple[float | None, str | None]:
        metric = _metric(rule)
        key = (view.id, rule.predictions, metric)
        if key not in self._values:
            self._values[key] = _value_of(self._read(view, rule.predictions), metric)
        return self._values[key]

    def _read(self, view: RunView, name: str) -> _Found:
        key = (view.id, name)
        if key not in self._found:
            self._found[key] = _read(view, name)
        return self._found[key]

    def _logged(self, view: RunView, name: str) -> _Logged:
        found = self._read(view, name)
        if not isinstance(found, _Logged):
            raise EvidenceError(f"run {view.id} has no predictions {name!r}")
        return found

    # -- both sides ----------------------------------------------------------------------------

    def _unfit(self, rule: MetricPolicy, candidate: Sequence[RunView], baseline: Sequence[RunView]) -> Finding | None:
        for one, two in zip(candidate, baseline, strict=True):
            found = _differing(self._logged(one, rule.predictions), self._logged(two, rule.predictions), rule.slices)
            if found is not None:
                words = f"Candidate and baseline were not measured on the same examples (run {one.id}): {found}."
                return Finding(decision=rule.missing, cause="examples", reason=words)
        return None

    def _compared(
        self,
        made: Measured,
        rule: MetricPolicy,
        candidate: Sequence[RunView],
        baseline: Sequence[RunView],
        *,
        whole: bool,
    ) -> Measured:
        import numpy as np

        try:
            with np.errstate(all="ignore"):  # what comes to no number is said to be none
                test = _tested(rule, self._paired(rule, candidate, baseline)).test if whole else None
                slices = self._sliced(rule, candidate, baseline) if whole or rule.slices_gate else ()
        except (EvidenceError, ArithmeticError) as error:
            words = f"The predictions can't be compared: {error}."
            return _with(made, unfit=Finding(decision="undecided", cause="examples", reason=words))
        return _with(made, examples=test, slices=slices)

    def _paired(self, rule: MetricPolicy, candidate: Sequence[RunView], baseline: Sequence[RunView]) -> list[Pair]:
        key = (_ids(candidate, baseline), rule.predictions)
        if key not in self._pairs:
            sides = [[self._logged(view, rule.predictions) for view in side] for side in (candidate, baseline)]
            self._pairs[key] = _pairs(*sides)
        return self._pairs[key]

    def _sliced(
        self, rule: MetricPolicy, candidate: Sequence[RunView], baseline: Sequence[RunView]
    ) -> tuple[SliceDecision, ...]:
        found = []
        for column in rule.slices:
            made = [_slice(rule, column, group) for group in self._grouped(rule, column, candidate, baseline)]
            if rule.slices_gate and rule.gates and not any(one.p_fail is not None for one in made):
                raise EvidenceError(
                    f"no slice of {column!r} has the {_least(rule)} that the policy asks for, so that column decides "
                    "nothing: lower the smallest size or take the column out"
                )
            found += made
        return tuple(found)

    def _grouped(
        self, rule: MetricPolicy, column: str, candidate: Sequence[RunView], baseline: Sequence[RunView]
    ) -> list[_Group]:
        key = (_ids(candidate, baseline), rule.predictions, column)
        if key not in self._groups:
            logged = [self._logged(view, rule.predictions) for view in baseline]
            cells = [one.column(one.found.slices[column]) for one in logged]
            self._groups[key] = _groups(column, self._paired(rule, candidate, baseline), cells)
        return self._groups[key]


def _with(made: Measured, **fields: Any) -> Measured:
    kept = {name: getattr(made, name) for name in Measured.__slots__}
    return Measured(**{**kept, **fields})


def _metric(rule: MetricPolicy) -> ExampleMetric:
    if rule.examples is None:
        raise ValueError(f"{rule.name}: no metric of examples")
    return rule.examples


def _ids(candidate: Sequence[RunView], baseline: Sequence[RunView]) -> tuple[str, ...]:
    return tuple(view.id for view in (*candidate, *baseline))


# -- one run ---------------------------------------------------------------------------------------


def _read(view: RunView, name: str) -> _Found:
    try:
        found = view.predictions(name)
    except UsageError:
        return None  # it logged none of that name
    except UnitrackError as error:
        return f"The predictions of run {view.id} can't be used: {str(error)[:_LONGEST]}."
    return _Logged(found=found, order=sorted(range(len(found)), key=found.ids.__getitem__))


def _value_of(found: _Found, metric: ExampleMetric) -> tuple[float | None, str | None]:
    import numpy as np

    if not isinstance(found, _Logged):
        return (None, None) if found is None else (math.nan, found)
    if metric in _OF_NUMBERS and isinstance(found.found.y_true[0], str):
        return None, f"{metric} is about numbers, and the logged labels are texts."
    try:
        with np.errstate(all="ignore"):  # what comes to no number is said to be none
            return rounded(value_of(metric, _answers(found, _codes([found])))) + 0.0, None
    except EvidenceError as error:
        return None, f"The predictions don't give {metric}: {error}."


def answers_of(*logged: Predictions) -> list[Answers]:
    """Return the answers in predictions, of whatever examples, with their labels numbered alike."""
    sides = [_Logged(found=found, order=sorted(range(len(found)), key=found.ids.__getitem__)) for found in logged]
    codes = _codes(sides)
    return [_answers(one, codes) for one in sides]


def _codes(sides: Iterable[_Logged]) -> Mapping[str, float]:
    """Number the labels that are texts, the same on all sides."""
    known = set[Any]()
    for one in sides:
        for cells in (one.found.y_true, one.found.y_pred, one.found.classes):
            if cells and isinstance(cells[0], str):
                known.update(cells)
    return {text: float(number) for number, text in enumerate(sorted(known))}


def _answers(one: _Logged, codes: Mapping[str, float]) -> Answers:
    import numpy as np

    def numbers(cells: Sequence[Any]) -> Any:
        return [codes[cell] if isinstance(cell, str) else float(cell) for cell in cells]

    found, order = one.found, np.asarray(one.order)
    return Answers(
        truth=np.asarray(numbers(found.y_true))[order],
        predicted=None if found.y_pred is None else np.asarray(numbers(found.y_pred))[order],
        scores=None if found.scores is None else np.asarray(found.scores, dtype=float)[order],
        classes=None if found.classes is None else tuple(numbers(found.classes)),
    )


# -- both sides ------------------------------------------------------------------------------------


def _differing(candidate: _Logged, baseline: _Logged, columns: Sequence[str]) -> str | None:
    """Say in what the examples of both sides differ, or return None."""
    ours, theirs = candidate.found, baseline.found
    ids = candidate.column(ours.ids), baseline.column(theirs.ids)
    if ids[0] != ids[1]:
        return _other_ids(*ids)
    if ours.split != theirs.split:
        return f"the candidate's split is {ours.split!r:.60}, the baseline's {theirs.split!r:.60}"
    if not _same_classes(ours.classes, theirs.classes):
        return f"the candidate's classes are {ours.classes!r:.60}, the baseline's {theirs.classes!r:.60}"
    truth = candidate.column(ours.y_true), baseline.column(theirs.y_true)
    if truth[0] != truth[1]:
        return _other_cells("the true label", ids[0], *truth)
    for name in columns:
        for side, found in (("candidate", ours), ("baseline", theirs)):
            if name not in found.slices:
                return f"the {side} logged no slice column {name!r:.60}"
        cells = candidate.column(ours.slices[name]), baseline.column(theirs.slices[name])
        if cells[0] != cells[1]:
            return _other_cells(f"the slice {name!r:.60}", ids[0], *cells)
    return None


def _other_ids(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    lost, new = sorted(set(theirs) - set(ours), key=str), sorted(set(ours) - set(theirs), key=str)
    parts = [
        f"{len(found):,} {words} ({found[0]!r:.60}{', ...' if len(found) > 1 else ''})"
        for found, words in ((lost, "are missing from the candidate's"), (new, "are the candidate's alone"))
        if found
    ]
    return f"of the baseline's {len(theirs):,} ids and the candidate's {len(ours):,}, {' and '.join(parts)}"


def _other_cells(what: str, ids: Sequence[Any], ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    at = [row for row, (one, two) in enumerate(zip(ours, theirs, strict=True)) if one != two]
    shown = f"{ours[at[0]]!r:.60} instead of {theirs[at[0]]!r:.60}"
    return f"{what} of {len(at):,} examples was changed by the candidate ({ids[at[0]]!r:.60}: {shown})"


def _same_classes(ours: Sequence[Any] | None, theirs: Sequence[Any] | None) -> bool:
    """Two classes must come in the same order, for the second is the positive one."""
    if ours is None or theirs is None:
        return ours is theirs
    return list(ours) == list(theirs) if len(ours) == 2 else sorted(ours, key=str) == sorted(theirs, key=str)


def _pairs(candidate: Sequence[_Logged], baseline: Sequence[_Logged]) -> list[Pair]:
    import numpy as np

    codes = _codes([*candidate, *baseline])
    known = {one for each in baseline for one in each.found.ids}
    numbers = {one: number for number, one in enumerate(sorted(known, key=lambda one: (isinstance(one, str), one)))}
    return [
        Pair(
            examples=np.asarray([numbers[one] for one in two.column(two.found.ids)]),
            candidate=_answers(one, codes),
            baseline=_answers(two, codes),
        )
        for one, two in zip(candidate, baseline, strict=True)
    ]


# -- slices ----------------------------------------------------------------------------------------


def _groups(column: str, pairs: Sequence[Pair], cells: Sequence[Sequence[str | None]]) -> list[_Group]:
    """Cut pairs by the cells of their examples, in the order of the cells; examples without one are in no group."""
    import numpy as np

    values = sorted({cell for each in cells for cell in each if cell is not None})
    if len(values) > MOST_SLICES:
        raise EvidenceError(f"slice column {column!r} has {len(values):,} values: more than {MOST_SLICES:,} are ids")
    place = {value: at for at, value in enumerate(values)}
    found: list[list[Pair]] = [[] for _ in values]
    for pair, each in zip(pairs, cells, strict=True):
        codes: Any = np.asarray([-1 if cell is None else place[cell] for cell in each])
        order: Any = np.argsort(codes, kind="stable")
        ends: Any = np.searchsorted(codes[order], np.arange(len(values) + 1))
        for at in range(len(values)):
            rows = order[ends[at] : ends[at + 1]]
            if len(rows):
                found[at].append(pair.rows(rows))
    return [_Group(value=value, size=_size(made), pairs=made) for value, made in zip(values, found, strict=True)]


def _size(pairs: Sequence[Pair]) -> int:
    import numpy as np

    return len(np.unique(np.concatenate([pair.examples for pair in pairs])))


def _slice(rule: MetricPolicy, column: str, group: _Group) -> SliceDecision:
    """Return the figures of a slice, none if it is too small; what they mean is judged later."""
    bare = SliceDecision(column=column, value=group.value, size=group.size, decision="reported", reason="")
    if group.size < rule.smallest_slice or _fewest(rule, group.pairs) < rule.smallest_positives:
        return bare
    found = _tested(rule, group.pairs)
    test = found.test
    return SliceDecision(
        column=column,
        value=group.value,
        size=group.size,
        decision="reported",
        reason="",
        candidate_mean=found.candidate,
        baseline_mean=found.baseline,
        mean=test.mean,
        lower=test.lower,
        upper=test.upper,
        p_fail=test.p_fail,
    )


def _tested(rule: MetricPolicy, pairs: Sequence[Pair]) -> Comparison:
    found = compare(_metric(rule), pairs)
    test = found.test
    if not all(map(math.isfinite, (found.candidate, found.baseline, test.mean, test.lower, test.upper, test.p_fail))):
        raise EvidenceError("what they come to is no finite number")
    return found


def _fewest(rule: MetricPolicy, pairs: Sequence[Pair]) -> float:
    """Return how many examples a seed has of the class that the metric is about, of the rarer one for ROC AUC."""
    metric = _metric(rule)
    if METRICS[metric].of == "all":
        return math.inf
    counts = [(int(found.sum()), len(found)) for found in (positives(pair.baseline) for pair in pairs)]
    return min(min(yes, every - yes) if metric == "roc_auc" else yes for yes, every in counts)


def _least(rule: MetricPolicy) -> str:
    words = f"{rule.smallest_slice:,} examples"
    return words if METRICS[_metric(rule)].of == "all" else f"{words} and {rule.smallest_positives:,} of its class"
