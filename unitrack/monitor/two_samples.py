"""Compare one model on two sets of examples: what a metric comes to on each, and how far that may be off by chance.

The sets are independent samples, so variances add. ROC AUC has DeLong's variance, accuracy that of Agresti and Coull
(1998), any other metric the bootstrap's, or with many examples the jackknife's over blocks. For the bootstrap, p-values
are the more careful ones of the normal distribution and of BCa.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from unitrack.errors import EvidenceError
from unitrack.gate.example_metrics import METRICS, Answers, average_precision, labels_of, placements, positives
from unitrack.gate.example_metrics import value_of as value_of_answers
from unitrack.gate.predictions import answers_of
from unitrack.gate.resampling import REPLICATES, bca_p, leaving_out, samples

if TYPE_CHECKING:
    from unitrack.config import ExampleMetric
    from unitrack.media.predictions import Predictions

__all__ = ["FEWEST", "Contrast", "contrast"]

FEWEST: Final = 30
"""Examples that a side needs: of fewer no variance is known well enough."""

_BOOTSTRAPPED: Final = 20_000  # examples a side; with more the jackknife says the same in less time
_OF_NUMBERS: Final = frozenset({"mae", "mse", "rmse", "r2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    value: float
    variance: float
    draws: Any = None
    left_out: Any = None


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """A metric on fresh examples and on those of the promotion, in its own unit.

    `difference` is fresh minus reference, turned so that more is better, with its standard `error`.
    """

    test: str
    fresh: float
    reference: float
    difference: float
    error: float
    n_fresh: int
    n_reference: int
    tail: Callable[[float], tuple[float, float]]
    """Return for a shift the chances of so low, and of so high, a difference plus shift, were it zero."""
    error_fresh: float = 0.0


def contrast(
    name: ExampleMetric, fresh: Predictions, reference: Predictions, *, fewest_positives: int = FEWEST
) -> Contrast:
    """Compare two sets of predictions by a metric.

    Raises EvidenceError if one lacks what the metric needs, or has too few examples to tell anything.
    """
    ours, theirs = _answers(name, fresh, reference)
    for side, answers in (("fresh", ours), ("promotion's", theirs)):
        _check_size(name, side, answers, fewest_positives)
    resampled = name not in ("accuracy", "roc_auc") and max(len(ours), len(theirs)) <= _BOOTSTRAPPED
    one, two = (_estimate(name, side, number, resampled=resampled) for number, side in enumerate((ours, theirs)))
    sign = 1.0 if METRICS[name].goal == "maximize" else -1.0
    difference, error = sign * (one.value - two.value) + 0.0, math.sqrt(one.variance + two.variance)
    if not (math.isfinite(difference) and math.isfinite(error)):
        raise EvidenceError("what they come to is no finite number")
    return Contrast(
        test=_test_name(name, resampled=resampled),
        fresh=one.value,
        reference=two.value,
        difference=difference,
        error=error,
        error_fresh=math.sqrt(one.variance),
        n_fresh=len(ours),
        n_reference=len(theirs),
        tail=lambda shift: _tails(difference + shift, error, _shifted(sign, one, two, shift)),
    )


def _test_name(name: str, *, resampled: bool) -> str:
    return {"accuracy": "two proportions", "roc_auc": "delong"}.get(name, "bootstrap" if resampled else "jackknife")


def _answers(name: str, fresh: Predictions, reference: Predictions) -> list[Answers]:
    texts = [isinstance(side.y_true[0], str) for side in (fresh, reference)]
    if texts[0] != texts[1]:
        raise EvidenceError("one side's labels are texts, the other's numbers")
    if texts[0] and name in _OF_NUMBERS:
        raise EvidenceError(f"{name} is about numbers, and the logged labels are texts")
    if fresh.classes != reference.classes and None not in (fresh.classes, reference.classes):
        raise EvidenceError(f"their classes differ: {fresh.classes!r:.80} and {reference.classes!r:.80}")
    return answers_of(fresh, reference)


def _check_size(name: ExampleMetric, side: str, answers: Answers, fewest_positives: int) -> None:
    if len(answers) < FEWEST:
        raise EvidenceError(f"the {side} predictions are {len(answers)} examples: {FEWEST} are needed to tell anything")
    if METRICS[name].of == "positives":
        yes = int(positives(answers).sum())
        rarer = min(yes, len(answers) - yes) if name == "roc_auc" else yes
        if rarer < fewest_positives:
            raise EvidenceError(
                f"the {side} predictions have {rarer} examples of the class that {name} is about: "
                f"{fewest_positives} are needed"
            )


# -- one side ------------------------------------------------------------------------------------


def _estimate(name: ExampleMetric, answers: Answers, number: int, *, resampled: bool) -> _Estimate:
    import numpy as np

    value = value_of_answers(name, answers)
    if name == "accuracy":
        n = len(answers) + 4
        share = (value * len(answers) + 2) / n
        return _Estimate(value=value, variance=share * (1 - share) / n)
    if name == "roc_auc":
        up, down = placements(answers)
        return _Estimate(value=value, variance=float(up.var(ddof=1) / len(up) + down.var(ddof=1) / len(down)))
    with np.errstate(all="ignore"):
        statistic = _statistic(name, answers)
        left_out = np.concatenate([statistic(weights) for weights in leaving_out(len(answers))])
        if not resampled:
            blocks = len(left_out)
            return _Estimate(value=value, variance=float(left_out.var() * (blocks - 1)))
        seed = _digest(answers, number)
        draws = np.concatenate([statistic(weights) for weights in samples(seed, len(answers), REPLICATES)])
    return _Estimate(value=value, variance=float(draws.var(ddof=1)), draws=draws, left_out=left_out)


def _statistic(name: ExampleMetric, answers: Answers) -> Callable[[Any], Any]:
    """Return a function of weights (b, examples) that gives the metric of each row of them."""
    if name == "average_precision":
        return average_precision(answers)
    metric = METRICS[name]
    columns = metric.columns(answers, labels_of(answers) if metric.per_label else None)
    return lambda weights: metric.value(weights @ columns)


def _digest(answers: Answers, number: int) -> bytes:
    """Return what the draws start from; the two sides must not be drawn alike, even if they are equal."""
    import numpy as np

    sha = hashlib.sha256(bytes([number]))
    for part in (answers.truth, answers.predicted, answers.scores):
        if part is not None:
            sha.update(np.ascontiguousarray(part, dtype="<f8").tobytes())
    return sha.digest()


# -- both ----------------------------------------------------------------------------------------


def _shifted(sign: float, one: _Estimate, two: _Estimate, shift: float) -> tuple[Any, Any] | None:
    """Return the bootstrap's differences and the jackknife's, all plus the shift."""
    import numpy as np

    if one.draws is None or two.draws is None or one.draws.min() == one.draws.max():
        return None
    changes = [sign * (one.left_out - one.value), -sign * (two.left_out - two.value)]
    middle = sign * (one.value - two.value) + shift
    return sign * (one.draws - two.draws) + shift, middle + np.concatenate([c - c.mean() for c in changes])


def _tails(value: float, error: float, resampled: tuple[Any, Any] | None) -> tuple[float, float]:
    """Return the chances of a value so low, and of one so high, if zero is the truth."""
    from scipy.special import ndtr

    if error == 0:
        return float(value >= 0), float(value <= 0)
    low, high = float(ndtr(value / error)), float(ndtr(-value / error))
    if resampled is None:
        return low, high
    draws, left_out = resampled
    if draws.max() >= 0:
        low = max(low, bca_p(draws, value, left_out))
    if draws.min() <= 0:
        high = max(high, bca_p(-draws, -value, -left_out))
    return low, high
