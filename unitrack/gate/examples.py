"""Compare two models example by example, over all seeds: exact McNemar, DeLong, paired cluster bootstrap.

Two levels vary. Examples: the test set is one of many, so a difference may be of these examples alone. Seeds:
training again gives another model. An example keeps its part in all seeds together (it is one cluster), and the
variance over seeds, estimated from the seeds' differences, is added to that over examples. Quantiles lie between
the normal one and Student's by the two variances (Cochran and Cox): with few seeds Satterthwaite's degrees of freedom
would call unchanged training worse too often. With one seed there is no telling what another would give: then
the tests are about these two models. Intervals and p-values are the more careful ones of this and of the exact test
or the bootstrap, which are about the examples.

Pure and deterministic: bootstrap samples are drawn from a stream that the examples' own bytes start.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from unitrack.gate.decision import ExampleTest
from unitrack.gate.example_metrics import (
    METRICS,
    Answers,
    average_precision,
    labels_of,
    placements,
    positives,
    value_of,
)
from unitrack.gate.resampling import REPLICATES, bca_interval, bca_p, leaving_out, samples
from unitrack.gate.statistics import rounded

if TYPE_CHECKING:
    from unitrack.config import ExampleMetric

__all__ = [
    "LEVEL", "Comparison", "Pair", "compare", "delong_variance", "mcnemar", "sign_flips",
]  # fmt: skip

LEVEL: Final = 0.05
"""What an interval leaves out at each end."""

_Kind = Literal["mcnemar", "delong", "bootstrap"]

_EXACT_UP_TO = 20_000  # differences, summed; beyond it their sum is normal
_LONG = 200_000  # rows to rank in each sample, beyond which a quarter of the samples has to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both sides' answers of one seed, row by row about the same examples.

    `examples` number them, the same in all seeds, from 0.
    """

    examples: Any
    candidate: Answers
    baseline: Answers

    def rows(self, chosen: Any) -> Pair:
        """Return the pair of some examples, given by a mask or indices."""
        return Pair(
            examples=self.examples[chosen], candidate=self.candidate.rows(chosen), baseline=self.baseline.rows(chosen)
        )

    @property
    def equal(self) -> bool:
        """Both sides gave bit by bit the same answers."""
        return all(_same(one, two) for one, two in zip(_parts(self.candidate), _parts(self.baseline), strict=True))


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The test, and what the metric comes to on each side: its mean over seeds, in its own unit."""

    test: ExampleTest
    candidate: float
    baseline: float


def compare(name: ExampleMetric, pairs: Sequence[Pair]) -> Comparison:
    """Compare both sides by a metric. Raises EvidenceError if the answers lack what it needs."""
    values = [(value_of(name, pair.candidate), value_of(name, pair.baseline)) for pair in pairs]
    sign = 1.0 if METRICS[name].goal == "maximize" else -1.0
    differences = [sign * (candidate - baseline) for candidate, baseline in values]
    pairs = _numbered(pairs)
    kind: _Kind = "mcnemar" if name == "accuracy" else "delong" if name == "roc_auc" else "bootstrap"
    if all(pair.equal for pair in pairs):
        test = _no_difference(kind, pairs)
    elif kind == "mcnemar":
        test = _compare_accuracy(pairs, differences)
    elif kind == "delong":
        test = _compare_ranking(pairs, differences)
    else:
        test = _compare_resampled(name, pairs, differences)
    return Comparison(
        test=test,
        candidate=rounded(math.fsum(value for value, _ in values) / len(values)) + 0.0,
        baseline=rounded(math.fsum(value for _, value in values) / len(values)) + 0.0,
    )


def _numbered(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs with their examples numbered without gaps."""
    import numpy as np

    known = np.unique(np.concatenate([pair.examples for pair in pairs]))
    return [
        Pair(examples=np.searchsorted(known, pair.examples), candidate=pair.candidate, baseline=pair.baseline)
        for pair in pairs
    ]


def _count(pairs: Sequence[Pair]) -> int:
    return 1 + max(int(pair.examples.max()) for pair in pairs)


def _parts(answers: Answers) -> tuple[Any, Any]:
    return answers.predicted, answers.scores


def _same(one: Any, two: Any) -> bool:
    import numpy as np

    return (one is None and two is None) or (one is not None and two is not None and np.array_equal(one, two))


def _no_difference(kind: _Kind, pairs: Sequence[Pair]) -> ExampleTest:
    none = 0 if kind == "mcnemar" else None
    return ExampleTest(test=kind, n=_count(pairs), mean=0.0, lower=0.0, upper=0.0, p_fail=1.0, lost=none, won=none)


# -- two levels ----------------------------------------------------------------------------------


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    mean: float
    lower: float
    upper: float
    p: float


def _by_seeds(differences: Sequence[float], over_examples: float) -> _Figures:
    """Test "no worse" and bound the mean over seeds, from the variance over examples and the seeds' own."""
    seeds = len(differences)
    mean = math.fsum(differences) / seeds
    over_seeds = math.fsum((one - mean) ** 2 for one in differences) / (seeds * (seeds - 1)) if seeds > 1 else 0.0
    variance = over_examples + over_seeds
    if variance <= 0:
        return _Figures(mean=mean, lower=mean, upper=mean, p=float(mean >= 0))
    error, weight = math.sqrt(variance), over_seeds / variance
    half = -_quantile(LEVEL, weight, seeds) * error
    return _Figures(mean=mean, lower=mean - half, upper=mean + half, p=_tail(mean / error, weight, seeds))


def _quantile(level: float, weight: float, seeds: int) -> float:
    """Return the lower quantile: between the normal one of examples and Student's of seeds, by their variances."""
    from scipy.special import ndtri, stdtrit

    normal = float(ndtri(level))
    return normal if seeds == 1 else (1 - weight) * normal + weight * float(stdtrit(seeds - 1, level))


def _tail(t: float, weight: float, seeds: int) -> float:
    """Return the level whose quantile is `t`."""
    from scipy.special import ndtr

    if t > 0:
        return 1 - _tail(-t, weight, seeds)
    if seeds == 1:
        return float(ndtr(t))
    low, high = math.log(1e-300), math.log(0.5)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _quantile(math.exp(middle), weight, seeds) < t else (low, middle)
    return math.exp(high)


def _joined(parts: Sequence[tuple[Any, Any]], seeds: int, count: int) -> float:
    """Return the variance over examples of the mean over seeds, from what each example adds to a seed's value."""
    import numpy as np

    total = np.zeros(count)
    for examples, share in parts:
        total += np.bincount(examples, weights=share / seeds, minlength=count)
    return float((total**2).sum())


def _shares(values: Any) -> Any:
    """Return what values add to their mean; the squares sum to the variance of the mean."""
    n = len(values)
    return (values - values.mean()) / math.sqrt(n * max(n - 1, 1))


# -- accuracy ------------------------------------------------------------------------------------


def mcnemar(lost: int, won: int, *, mid: bool = False) -> float:
    """Return the exact p of "no worse" when `lost` examples only the baseline got right, `won` only the candidate.

    With `mid` the observed table counts half (Fagerland and others 2013): less careful, closer to the level.
    """
    from scipy.stats import binom

    if lost + won == 0:
        return 1.0
    p = float(binom.sf(lost - 1, lost + won, 0.5))
    return p - 0.5 * float(binom.pmf(lost, lost + won, 0.5)) if mid else p


def sign_flips(net: Any) -> float:
    """Return the exact p of "no worse" over several seeds: McNemar's test with whole examples swapped.

    `net` is for each example in how many more seeds the candidate got it right. Without a difference between
    the sides an example's sign is a coin's, in all its seeds at once.
    """
    import numpy as np
    from scipy.stats import binom, norm

    sizes = np.bincount(np.abs(net))[1:]
    if not sizes.any():
        return 1.0
    most = int((sizes * np.arange(1, len(sizes) + 1)).sum())
    if most > _EXACT_UP_TO and len(sizes) > 1:
        return float(norm.cdf(net.sum() / math.sqrt(float((net**2).sum()))))
    chances = np.ones(1)
    for size, number in enumerate(sizes, start=1):
        step = np.zeros(size * int(number) + 1)
        step[::size] = binom.pmf(np.arange(number + 1), number, 0.5)
        chances = np.convolve(chances, step)
    won = (int(net.sum()) + most) // 2
    return min(1.0, float(chances[: won + 1].sum()))


def _compare_accuracy(pairs: Sequence[Pair], differences: Sequence[float]) -> ExampleTest:
    import numpy as np

    count = _count(pairs)
    net: Any = np.zeros(count, dtype=np.int64)
    parts = []
    for pair in pairs:
        gain = _right(pair.candidate).astype(np.int64) - _right(pair.baseline)
        net += np.bincount(pair.examples, weights=gain, minlength=count).astype(np.int64)
        parts.append((pair.examples, _shares(gain)))
    # Half an example won and half a one lost, as Agresti and Min (2005): few differences are no certainty.
    over_examples = _joined(parts, len(pairs), count) + 1 / count**2
    found = _by_seeds(differences, over_examples)
    lost, won = int((net < 0).sum()), int((net > 0).sum())
    exact = mcnemar(lost, won) if len(pairs) == 1 else max(found.p, sign_flips(net))
    return _test("mcnemar", count, msgspec.structs.replace(found, p=exact), lost=lost, won=won)


def _right(answers: Answers) -> Any:
    return METRICS["accuracy"].columns(answers, None)[:, 1].astype(bool)


# -- ROC AUC -------------------------------------------------------------------------------------


def delong_variance(pairs: Sequence[Pair]) -> float:
    """Return the variance over examples of the difference of ROC AUCs, averaged over seeds.

    With one seed it is that of DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more
    correlated receiver operating characteristic curves".
    """
    import numpy as np

    parts = []
    for pair in pairs:
        true = positives(pair.baseline)
        up, down = (one - two for one, two in zip(placements(pair.candidate), placements(pair.baseline), strict=True))
        share = np.empty(len(true))
        share[true], share[~true] = _shares(up), _shares(down)
        parts.append((pair.examples, share))
    return _joined(parts, len(pairs), _count(pairs))


def _compare_ranking(pairs: Sequence[Pair], differences: Sequence[float]) -> ExampleTest:
    count = _count(pairs)
    return _test("delong", count, _by_seeds(differences, delong_variance(pairs)))


# -- everything else -----------------------------------------------------------------------------


def _compare_resampled(name: ExampleMetric, pairs: Sequence[Pair], differences: Sequence[float]) -> ExampleTest:
    import numpy as np

    count = _count(pairs)
    statistic = _ranked(pairs) if name == "average_precision" else _summed(name, pairs)
    observed = float(statistic(np.ones((1, count)))[0])
    slow = name == "average_precision" and count * len(pairs) > _LONG
    replicates = REPLICATES // 4 if slow else REPLICATES
    drawn = np.concatenate([statistic(weights) for weights in samples(_digest(pairs), count, replicates)])
    left_out = np.concatenate([statistic(weights) for weights in leaving_out(count)])
    found = _by_seeds(differences, float(drawn.var(ddof=1)))
    if drawn.min() < drawn.max():
        lower, upper = bca_interval(drawn, observed, left_out, level=LEVEL)
        # Zero beyond all samples: there the tail of theory has to do.
        p = bca_p(drawn, observed, left_out) if drawn.max() >= 0 else 0.0
        found = _Figures(
            mean=found.mean, lower=min(found.lower, lower), upper=max(found.upper, upper), p=max(found.p, p)
        )
    return _test("bootstrap", count, found)


def _summed(name: ExampleMetric, pairs: Sequence[Pair]) -> Callable[[Any], Any]:
    """Return a function of weights (b, examples) that gives the mean difference over seeds (b,), turned."""
    import numpy as np
    from scipy import sparse

    metric, count = METRICS[name], _count(pairs)
    sides = [(pair.examples, side) for pair in pairs for side in (pair.candidate, pair.baseline)]
    labels = labels_of(*(side for _, side in sides)) if metric.per_label else None
    blocks = [_in_places(metric.columns(side, labels), examples, count) for examples, side in sides]
    table = sparse.hstack(blocks, format="csr") if metric.per_label else np.hstack(blocks)
    sign = 1.0 if metric.goal == "maximize" else -1.0

    def statistic(weights: Any) -> Any:
        sums = (weights @ table).reshape(len(weights), len(pairs), 2, -1)
        values = metric.value(sums)
        return sign * (values[..., 0] - values[..., 1]).mean(axis=1)

    return statistic


def _in_places(columns: Any, examples: Any, count: int) -> Any:
    """Put each example's row where its number says; rows of examples that a seed lacks are empty."""
    import numpy as np
    from scipy import sparse

    if sparse.issparse(columns):
        places = sparse.csr_array(
            (np.ones(len(examples)), (examples, np.arange(len(examples)))), (count, len(examples))
        )
        return places @ columns
    table = np.zeros((count, columns.shape[1]))
    table[examples] = columns
    return table


def _ranked(pairs: Sequence[Pair]) -> Callable[[Any], Any]:
    import numpy as np

    both = [(pair.examples, average_precision(pair.candidate), average_precision(pair.baseline)) for pair in pairs]

    def statistic(weights: Any) -> Any:
        whole = weights.astype(np.int32)  # summed up in a third of the time
        drawn = ((np.take(whole, rows, axis=1), one, two) for rows, one, two in both)
        return sum(one(weights) - two(weights) for weights, one, two in drawn) / len(both)

    return statistic


def _digest(pairs: Sequence[Pair]) -> bytes:
    import numpy as np

    sha = hashlib.sha256()
    for pair in pairs:
        for part in (pair.examples, pair.baseline.truth, *_parts(pair.candidate), *_parts(pair.baseline)):
            if part is not None:
                sha.update(np.ascontiguousarray(part, dtype="<f8").tobytes())
    return sha.digest()


# -- results -------------------------------------------------------------------------------------


def _test(kind: _Kind, count: int, found: _Figures, *, lost: int | None = None, won: int | None = None) -> ExampleTest:
    figures = {name: rounded(getattr(found, name)) + 0.0 for name in ("mean", "lower", "upper")}
    return ExampleTest(test=kind, n=count, **figures, p_fail=rounded(found.p), lost=lost, won=won)
