"""Metrics of a data set's examples: what one example adds to sums, and what the sums come to.

`accuracy` to `r2` are functions of sums over examples, so that a weighted sample costs one product of matrices.
ROC AUC and average precision are functions of ranks. Each agrees with scikit-learn's metric of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from unitrack.errors import EvidenceError

if TYPE_CHECKING:
    from unitrack.config import ExampleMetric, Goal

__all__ = ["METRICS", "Answers", "Metric", "average_precision", "labels_of", "placements", "positives", "value_of"]

_WORST_PROBABILITY = 2.220446049250313e-16  # a surer mistake than this counts as this one, or one example is infinite


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One model's answers as numpy arrays, one row an example. Labels are numbers: texts have been numbered.

    `scores` are (n,) for the second of two `classes`, or (n, classes).
    """

    truth: Any
    predicted: Any | None
    scores: Any | None
    classes: tuple[float, ...] | None

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, chosen: Any) -> Answers:
        """Return the answers of some examples, given by a mask or indices."""
        return Answers(
            truth=self.truth[chosen],
            predicted=None if self.predicted is None else self.predicted[chosen],
            scores=None if self.scores is None else self.scores[chosen],
            classes=self.classes,
        )


@dataclass(frozen=True, slots=True)
class Metric:
    """`columns` are what each example adds, (n, p); `value` turns sums (..., p) into values (...).

    `labels` are those that `columns` has to tell apart. `of` says what a metric is of: all examples, or those of
    a positive class, whose number then counts.
    """

    goal: Goal
    columns: Callable[[Answers, Any], Any]
    value: Callable[[Any], Any]
    of: Literal["all", "positives"] = "all"
    per_label: bool = False


def value_of(name: ExampleMetric, answers: Answers) -> float:
    """Return the metric of all examples. Raises EvidenceError if the answers lack what it needs."""
    import numpy as np

    if name == "roc_auc":
        return float(placements(answers)[0].mean())
    if name == "average_precision":
        return float(average_precision(answers)(np.ones((1, len(answers))))[0])
    metric = METRICS[name]
    columns = metric.columns(answers, labels_of(answers) if metric.per_label else None)
    return float(metric.value(np.asarray(columns.sum(axis=0)).reshape(-1)))


def labels_of(*answers: Answers) -> Any:
    """Return all labels that occur, sorted."""
    import numpy as np

    return np.unique(np.concatenate([part for one in answers for part in (one.truth, _predicted(one))]))


# -- what was answered ---------------------------------------------------------------------------


def _predicted(answers: Answers) -> Any:
    import numpy as np

    if answers.predicted is not None:
        return answers.predicted
    if answers.scores is None or answers.scores.ndim != 2 or answers.classes is None:
        raise EvidenceError("this metric needs y_pred, or scores of every class: log them with the predictions")
    return np.asarray(answers.classes)[answers.scores.argmax(axis=1)]


def positives(answers: Answers) -> Any:
    """Return which examples are of the positive class: the second of two. Raises EvidenceError."""
    return answers.truth == _positive(answers)


def _positive(answers: Answers) -> float:
    import numpy as np

    if answers.classes is not None:
        if len(answers.classes) != 2:
            raise EvidenceError(f"this metric tells two classes apart, not {len(answers.classes)}")
        return answers.classes[1]
    if np.isin(answers.truth, (0, 1)).all():
        return 1.0
    raise EvidenceError("this metric has a positive class: log classes=[negative, positive] with the predictions")


def _score(answers: Answers) -> Any:
    if answers.scores is None:
        raise EvidenceError("this metric needs scores: log them with the predictions")
    _positive(answers)
    return answers.scores if answers.scores.ndim == 1 else answers.scores[:, 1]


def _probabilities(answers: Answers) -> Any:
    """Return a row of class probabilities for each example. Raises EvidenceError for what can't be such."""
    import numpy as np

    scores = answers.scores
    if scores is None:
        raise EvidenceError("this metric needs scores: log them with the predictions")
    if scores.min() < 0 or scores.max() > 1:
        raise EvidenceError("this metric needs probabilities: the scores are not all between 0 and 1")
    if scores.ndim == 1:
        return np.column_stack([1 - scores, scores])
    if abs(scores.sum(axis=1) - 1).max() > 1e-3:
        raise EvidenceError("this metric needs probabilities: the scores of an example don't sum to 1")
    return scores


def _chosen(answers: Answers) -> Any:
    """Return the place of each example's true class among the classes."""
    import numpy as np

    classes: Any = np.asarray(answers.classes)
    order = np.argsort(classes)
    return order[np.searchsorted(classes[order], answers.truth)]


# -- columns and what they come to ---------------------------------------------------------------


def _mean_of(values: Callable[[Answers], Any]) -> Callable[[Answers, Any], Any]:
    def columns(answers: Answers, _labels: Any) -> Any:
        import numpy as np

        return np.column_stack([np.ones(len(answers)), values(answers)])

    return columns


def _correct(answers: Answers) -> Any:
    return (_predicted(answers) == answers.truth).astype(float)


def _log_loss(answers: Answers) -> Any:
    import numpy as np

    chances = _probabilities(answers)
    chance = chances[np.arange(len(answers)), _chosen(answers)]
    return -np.log(np.clip(chance, _WORST_PROBABILITY, 1.0))


def _brier(answers: Answers) -> Any:
    import numpy as np

    chances = _probabilities(answers)
    miss = (chances - np.eye(chances.shape[1])[_chosen(answers)]) ** 2
    return miss[:, 1] if chances.shape[1] == 2 else miss.sum(axis=1)


def _error(answers: Answers) -> Any:
    if answers.predicted is None:
        raise EvidenceError("this metric needs y_pred: log it with the predictions")
    return answers.predicted - answers.truth


def _variance_columns(answers: Answers, _labels: Any) -> Any:
    import numpy as np

    centred = answers.truth - answers.truth.mean()  # squares of large values would leave no digits
    return np.column_stack([np.ones(len(answers)), centred, centred**2, _error(answers) ** 2])


def _confusion(answers: Answers, _labels: Any) -> Any:
    """Return hits, false alarms and misses of the positive class."""
    import numpy as np

    positive = _positive(answers)
    said, true = _predicted(answers) == positive, answers.truth == positive
    return np.column_stack([said & true, said & ~true, ~said & true]).astype(float)


def _label_columns(answers: Answers, labels: Any) -> Any:
    """Return for each label whether an example hits it, is said to have it, has it: sparse (n, 3 x labels)."""
    import numpy as np
    from scipy import sparse

    rows, count = np.arange(len(answers)), len(labels)
    places: list[Any] = [np.searchsorted(labels, one) for one in (answers.truth, _predicted(answers))]
    true, said = places
    hits = true == said
    where = np.concatenate([rows[hits], rows, rows])
    columns = np.concatenate([true[hits], count + said, 2 * count + true])
    return sparse.csr_array((np.ones(len(where)), (where, columns)), shape=(len(answers), 3 * count))


def _ratio(over: Any, under: Any) -> Any:
    """Divide; 0 where there is nothing to divide by, as scikit-learn has it."""
    import numpy as np

    return np.divide(over, under, out=np.zeros_like(over, dtype=float), where=under > 0)


def _average_over(over: Any, under: Any) -> Any:
    """Return the mean ratio over the labels that occur."""
    return _ratio(_ratio(over, under).sum(axis=-1), (under > 0).sum(axis=-1).astype(float))


def _thirds(sums: Any) -> tuple[Any, Any, Any]:
    count = sums.shape[-1] // 3
    return sums[..., :count], sums[..., count : 2 * count], sums[..., 2 * count :]


def _mean(sums: Any) -> Any:
    return _ratio(sums[..., 1], sums[..., 0])


def _root(sums: Any) -> Any:
    import numpy as np

    return np.sqrt(_mean(sums))


def _r2(sums: Any) -> Any:
    import numpy as np

    spread = sums[..., 2] - _ratio(sums[..., 1] ** 2, sums[..., 0])
    left = np.divide(sums[..., 3], spread, out=np.ones_like(spread), where=spread > 0)  # no spread: nothing explained
    return 1 - left


def _precision(sums: Any) -> Any:
    return _ratio(sums[..., 0], sums[..., 0] + sums[..., 1])


def _recall(sums: Any) -> Any:
    return _ratio(sums[..., 0], sums[..., 0] + sums[..., 2])


def _f1(sums: Any) -> Any:
    return _ratio(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _f1_macro(sums: Any) -> Any:
    hits, said, true = _thirds(sums)
    return _average_over(2 * hits, said + true)


def _balanced_accuracy(sums: Any) -> Any:
    hits, _, true = _thirds(sums)
    return _average_over(hits, true)


METRICS: Final[Mapping[ExampleMetric, Metric]] = {
    "accuracy": Metric("maximize", _mean_of(_correct), _mean),
    "balanced_accuracy": Metric("maximize", _label_columns, _balanced_accuracy, per_label=True),
    "f1": Metric("maximize", _confusion, _f1, of="positives"),
    "f1_macro": Metric("maximize", _label_columns, _f1_macro, per_label=True),
    "precision": Metric("maximize", _confusion, _precision, of="positives"),
    "recall": Metric("maximize", _confusion, _recall, of="positives"),
    "log_loss": Metric("minimize", _mean_of(_log_loss), _mean),
    "brier": Metric("minimize", _mean_of(_brier), _mean),
    "mae": Metric("minimize", _mean_of(lambda answers: abs(_error(answers))), _mean),
    "mse": Metric("minimize", _mean_of(lambda answers: _error(answers) ** 2), _mean),
    "rmse": Metric("minimize", _mean_of(lambda answers: _error(answers) ** 2), _root),
    "r2": Metric("maximize", _variance_columns, _r2),
    "roc_auc": Metric("maximize", lambda answers, _: _score(answers)[:, None], _mean, of="positives"),
    "average_precision": Metric("maximize", lambda answers, _: _score(answers)[:, None], _mean, of="positives"),
}  # fmt: skip
"""The metrics by name; the columns of the two ranked ones are their scores alone."""


# -- metrics of ranks ----------------------------------------------------------------------------


def placements(answers: Answers) -> tuple[Any, Any]:
    """Return for each positive the share of negatives below it, and for each negative that of positives above it.

    Their means are both the ROC AUC. By midranks in O(n log n): Sun and Xu 2014, "Fast implementation of DeLong's
    algorithm". Raises EvidenceError without both classes.
    """
    from scipy.stats import rankdata

    scores, true = _score(answers), positives(answers)
    above, below = int(true.sum()), int((~true).sum())
    if not above or not below:
        raise EvidenceError("this metric needs examples of both classes")
    ranks = rankdata(scores)
    of_positives = (ranks[true] - rankdata(scores[true])) / below
    of_negatives = 1 - (ranks[~true] - rankdata(scores[~true])) / above
    return of_positives, of_negatives


def average_precision(answers: Answers) -> Callable[[Any], Any]:
    """Return a function of whole weights (b, n) that gives the weighted average precision of each row of them."""
    import numpy as np

    scores, true = _score(answers), positives(answers)
    if not true.any():
        raise EvidenceError("this metric needs examples of the positive class")
    order = np.argsort(-scores, kind="stable")
    ends: Any = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # where a threshold's equals end
    hits: Any = np.flatnonzero(true[order])
    end = ends[np.searchsorted(ends, hits)]  # that of each hit
    hits_then = np.searchsorted(hits, end, side="right") - 1

    def weighted(weights: Any) -> Any:
        drawn = np.take(weights, order, axis=1)
        weight = np.take(drawn, hits, axis=1)
        found = np.cumsum(weight, axis=1)
        precision = _ratio(np.take(found, hits_then, axis=1), np.take(np.cumsum(drawn, axis=1), end, axis=1))
        return _ratio((precision * weight).sum(axis=1), found[:, -1])

    return weighted
