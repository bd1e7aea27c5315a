"""Two models compared example by example: every figure against an independent way to the same number."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from unitrack.errors import EvidenceError
from unitrack.gate.example_metrics import METRICS, Answers, placements, value_of
from unitrack.gate.examples import Pair, compare, delong_variance, mcnemar, sign_flips
from unitrack.gate.resampling import bca_interval, bca_p, samples


def answers(truth, *, predicted=None, scores=None, classes=None):
    return Answers(
        truth=np.asarray(truth, dtype=float),
        predicted=None if predicted is None else np.asarray(predicted, dtype=float),
        scores=None if scores is None else np.asarray(scores, dtype=float),
        classes=classes,
    )


def pair(candidate, baseline, examples=None):
    return Pair(
        examples=np.arange(len(baseline)) if examples is None else examples, candidate=candidate, baseline=baseline
    )


def binary(draw, n=400, *, skill=1.0, noise=1.0, truth=None, shared=None):
    """Return answers of a model: scores that tell two classes apart with some skill, in tenths so that some tie."""
    truth = draw.integers(0, 2, n) if truth is None else truth
    raw = skill * (2 * truth - 1) + noise * draw.normal(size=len(truth)) + (0 if shared is None else shared)
    scores = np.round(1 / (1 + np.exp(-raw)), 2)
    return answers(truth, predicted=scores > 0.5, scores=scores, classes=(0.0, 1.0))


def regression(draw, n=300, *, noise=1.0, truth=None):
    truth = 1000 + draw.normal(size=n) if truth is None else truth
    return answers(truth, predicted=truth + noise * draw.normal(size=len(truth)))


# -- the metrics -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    two = binary(draw)
    true, said, scores = two.truth, two.predicted, two.scores
    line = regression(draw)
    many = draw.dirichlet(np.ones(4), 300)
    labels = draw.choice([2.0, 5.0, 7.0, 9.0], 300, p=[0.5, 0.3, 0.2, 0])  # one label never occurs
    classes = (7.0, 2.0, 9.0, 5.0)  # in the order of a model's columns, whatever it is
    four = answers(labels, scores=many, classes=classes)
    chosen = np.asarray(classes)[many.argmax(axis=1)]
    in_order = np.argsort(classes)
    expected = [
        ("accuracy", two, sk.accuracy_score(true, said)),
        ("balanced_accuracy", two, sk.balanced_accuracy_score(true, said)),
        ("f1", two, sk.f1_score(true, said)),
        ("f1_macro", two, sk.f1_score(true, said, average="macro")),
        ("precision", two, sk.precision_score(true, said)),
        ("recall", two, sk.recall_score(true, said)),
        ("log_loss", two, sk.log_loss(true, scores)),
        ("brier", two, sk.brier_score_loss(true, scores)),
        ("roc_auc", two, sk.roc_auc_score(true, scores)),
        ("average_precision", two, sk.average_precision_score(true, scores)),
        ("mae", line, sk.mean_absolute_error(line.truth, line.predicted)),
        ("mse", line, sk.mean_squared_error(line.truth, line.predicted)),
        ("rmse", line, sk.root_mean_squared_error(line.truth, line.predicted)),
        ("r2", line, sk.r2_score(line.truth, line.predicted)),
        ("accuracy", four, sk.accuracy_score(labels, chosen)),
        ("f1_macro", four, sk.f1_score(labels, chosen, average="macro")),
        ("log_loss", four, sk.log_loss(labels, many[:, in_order], labels=sorted(classes))),
    ]
    for name, given_answers, value in expected:
        assert value_of(name, given_answers) == pytest.approx(value, abs=1e-9), name
    assert {name for name, _, _ in expected} == set(METRICS)


@pytest.mark.parametrize(
    ("name", "given_answers", "words"),
    [
        ("accuracy", answers([0, 1], scores=[0.1, 0.9], classes=(0.0, 1.0)), "needs y_pred, or scores of every class"),
        ("roc_auc", answers([0, 1], predicted=[0, 1]), "needs scores"),
        ("roc_auc", answers([1, 1], scores=[0.1, 0.9], classes=(0.0, 1.0)), "examples of both classes"),
        ("average_precision", answers([0, 0], scores=[0.1, 0.9], classes=(0.0, 1.0)), "of the positive class"),
        ("f1", answers([3, 7], predicted=[3, 7]), r"log classes=\[negative, positive\]"),
        ("f1", answers([0, 1, 2], predicted=[0, 1, 2], classes=(0.0, 1.0, 2.0)), "two classes apart, not 3"),
        ("log_loss", answers([0, 1], scores=[-1, 1], classes=(0.0, 1.0)), "not all between 0 and 1"),
        ("log_loss", answers([0, 1], scores=[[0.5, 0.4], [0.5, 0.5]], classes=(0.0, 1.0)), "don't sum to 1"),
        ("log_loss", answers([0, 1], predicted=[0, 1]), "needs scores"),
        ("mae", answers([0, 1], scores=[0.1, 0.9], classes=(0.0, 1.0)), "needs y_pred"),
    ],
)  # fmt: skip
def test_answers_that_lack_what_a_metric_needs_are_no_evidence(name, given_answers, words):
    with pytest.raises(EvidenceError, match=words):
        value_of(name, given_answers)


# -- McNemar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (1, 0), (5, 5), (12, 3), (3, 12), (40, 22), (900, 1000)])
def test_mcnemar_agrees_with_statsmodels_and_scipy(lost, won):
    p = mcnemar(lost, won)
    assert p == pytest.approx(stats.binomtest(lost, max(lost + won, 1), alternative="greater").pvalue, abs=1e-12)
    two_sided = min(1.0, 2 * min(p, mcnemar(won, lost)))
    assert two_sided == pytest.approx(statsmodels_mcnemar([[50, lost], [won, 9]], exact=True).pvalue, abs=1e-9)
    assert p == pytest.approx(
        mcnemar(lost, won, mid=True) + stats.binom.pmf(lost, lost + won, 0.5) / 2 * (lost + won > 0)
    )


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_whole_examples_swapped_agree_with_trying_all_swaps(net):
    total = sum(net)
    sums = [
        sum(sign * abs(one) for sign, one in zip(signs, net, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(net))
    ]
    by_hand = sum(one <= total for one in sums) / len(sums)
    assert sign_flips(np.array(net)) == pytest.approx(by_hand, abs=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_with_one_seed_that_is_mcnemar(lost, won):
    net = np.array([-1] * lost + [1] * won + [0] * 10)
    assert sign_flips(net) == pytest.approx(mcnemar(lost, won), rel=1e-9)


def test_many_differences_take_no_longer_than_their_normal_sum():
    draw = np.random.default_rng(1)
    net = draw.choice([-2, -1, 0, 1, 2], 60_000)
    exact_enough = float(stats.norm.cdf(net.sum() / math.sqrt((net**2).sum())))
    assert sign_flips(net) == pytest.approx(exact_enough, abs=1e-12)


def test_one_seed_of_accuracy_is_the_exact_test_of_its_table():
    draw = np.random.default_rng(3)
    truth = draw.integers(0, 3, 500)
    good = np.where(draw.random(500) < 0.1, (truth + 1) % 3, truth)
    bad = np.where(draw.random(500) < 0.2, (truth + 1) % 3, truth)
    found = compare("accuracy", [pair(answers(truth, predicted=bad), answers(truth, predicted=good))])
    lost, won = ((good == truth) & (bad != truth)).sum(), ((good != truth) & (bad == truth)).sum()
    assert (found.test.lost, found.test.won, found.test.n) == (lost, won, 500)
    assert found.test.p_fail == pytest.approx(stats.binomtest(int(lost), int(lost + won), alternative="greater").pvalue)
    assert found.test.mean == pytest.approx((won - lost) / 500)
    assert (found.candidate, found.baseline) == (
        pytest.approx((bad == truth).mean()),
        pytest.approx((good == truth).mean()),
    )
    wald = math.sqrt(((good == truth).astype(float) - (bad == truth)).var(ddof=1) / 500 + 1 / 500**2)
    assert found.test.upper - found.test.lower == pytest.approx(2 * stats.norm.ppf(0.95) * wald, abs=1e-9)


# -- DeLong ----------------------------------------------------------------------------------------


def slow_delong(truth, one, two):
    """Return DeLong's difference and variance by comparing every positive with every negative."""
    sides = []
    for scores in (one, two):
        above = np.sign(scores[truth == 1][:, None] - scores[truth == 0][None, :])
        sides.append((above + 1) / 2)
    difference = sides[0] - sides[1]
    of_positives, of_negatives = difference.mean(axis=1), difference.mean(axis=0)
    variance = of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    return difference.mean(), variance


@given(st.integers(0, 2**32), st.integers(4, 60))
@settings(max_examples=60)
def test_fast_delong_is_the_slow_one(seed, n):
    draw = np.random.default_rng(seed)
    truth = np.append([0, 0, 1, 1], draw.integers(0, 2, n))
    one, two = binary(draw, truth=truth), binary(draw, truth=truth, skill=0.5)
    mean, variance = slow_delong(truth, one.scores, two.scores)
    assert delong_variance([pair(one, two)]) == pytest.approx(variance, abs=1e-12)
    found = compare("roc_auc", [pair(one, two)]).test
    assert found.mean == pytest.approx(mean, abs=1e-9)
    if variance > 0:
        assert found.p_fail == pytest.approx(stats.norm.cdf(mean / math.sqrt(variance)), abs=1e-9)
        assert found.lower == pytest.approx(mean - stats.norm.ppf(0.95) * math.sqrt(variance), abs=1e-9)
    assert placements(one)[0].mean() == pytest.approx(sk.roc_auc_score(truth, one.scores), abs=1e-9)


def test_seeds_of_one_test_set_average_before_they_vary():
    draw = np.random.default_rng(5)
    truth = draw.integers(0, 2, 200)
    pairs = [pair(binary(draw, truth=truth), binary(draw, truth=truth)) for _ in range(4)]
    ups = np.mean([placements(one.candidate)[0] - placements(one.baseline)[0] for one in pairs], axis=0)
    downs = np.mean([placements(one.candidate)[1] - placements(one.baseline)[1] for one in pairs], axis=0)
    variance = ups.var(ddof=1) / len(ups) + downs.var(ddof=1) / len(downs)
    assert delong_variance(pairs) == pytest.approx(variance, abs=1e-12)
    differences = [float(placements(one.candidate)[0].mean() - placements(one.baseline)[0].mean()) for one in pairs]
    of_seeds = np.var(differences, ddof=1) / 4
    found = compare("roc_auc", pairs).test
    t = np.mean(differences) / math.sqrt(variance + of_seeds)

    def quantile(level):
        normal, student = stats.norm.ppf(level), stats.t.ppf(level, 3)
        return (variance * normal + of_seeds * student) / (variance + of_seeds)

    assert quantile(found.p_fail) == pytest.approx(t, abs=1e-7)
    half = quantile(0.95) * math.sqrt(variance + of_seeds)
    assert found.upper - found.lower == pytest.approx(2 * half, abs=1e-9)


# -- the bootstrap ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_bca_interval_is_scipys_for_the_same_samples(seed):
    draw = np.random.default_rng(seed)
    data = draw.exponential(size=60)
    found = stats.bootstrap((data,), np.mean, n_resamples=2000, confidence_level=0.9, method="BCa", rng=seed)
    left_out = np.array([np.delete(data, index).mean() for index in range(len(data))])
    lower, upper = bca_interval(found.bootstrap_distribution, data.mean(), left_out, level=0.05)
    assert lower == pytest.approx(found.confidence_interval.low, abs=1e-9)
    assert upper == pytest.approx(found.confidence_interval.high, abs=1e-9)


@pytest.mark.parametrize("shift", [-0.3, -0.05, 0.1])
def test_the_bca_p_is_the_level_whose_upper_end_is_zero(shift):
    draw = np.random.default_rng(2)
    data = draw.exponential(size=80) - 1 + shift
    drawn = draw.choice(data, (20_000, 80)).mean(axis=1)
    left_out = (data.sum() - data) / 79
    p = bca_p(drawn, data.mean(), left_out)
    _, upper = bca_interval(drawn, data.mean(), left_out, level=p)
    assert upper == pytest.approx(0, abs=0.002)


def test_samples_are_draws_with_replacement_and_the_same_for_ever():
    (weights,) = samples(b"a test", 7, 2000)
    assert weights.shape == (2000, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(6 / 7, abs=0.05)
    assert weights[:2].tolist() == [[1.0, 0.0, 2.0, 1.0, 2.0, 1.0, 0.0], [1.0, 0.0, 0.0, 3.0, 2.0, 1.0, 0.0]]
    assert np.concatenate(list(samples(b"a test", 3_000_000, 3))).shape == (3, 3_000_000)


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"accuracy", "roc_auc"}))
def test_what_is_resampled_is_the_metric_itself(name):
    """The mean is scikit-learn's difference, and the interval that of a bootstrap that repeats rows."""
    draw = np.random.default_rng(11)
    if name in ("mae", "mse", "rmse", "r2"):
        base = [regression(draw) for _ in range(2)]
        cand = [regression(draw, truth=one.truth, noise=1.1) for one in base]
    else:
        base = [binary(draw) for _ in range(2)]
        cand = [binary(draw, truth=one.truth, skill=0.8) for one in base]
    pairs = [pair(one, two) for one, two in zip(cand, base, strict=True)]
    found = compare(name, pairs)
    sign = 1 if METRICS[name].goal == "maximize" else -1

    def mean(rows):
        return sign * np.mean(
            [
                value_of(name, one.rows(rows)) - value_of(name, two.rows(rows))
                for one, two in zip(cand, base, strict=True)
            ]
        )

    everything = np.arange(len(base[0]))
    assert found.test.mean == pytest.approx(mean(everything), abs=1e-9)
    repeated = np.array([mean(draw.choice(everything, len(everything))) for _ in range(300)])
    seeds = [value_of(name, one) - value_of(name, two) for one, two in zip(cand, base, strict=True)]
    width = 2 * stats.norm.ppf(0.95) * math.sqrt(repeated.var() + np.var(seeds, ddof=1) / 2)
    assert 0.9 * width < found.test.upper - found.test.lower < 4 * width  # two seeds: few degrees of freedom


# -- both levels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "log_loss", "f1", "average_precision"])
def test_equal_answers_are_no_difference_and_no_chance(name):
    one = binary(np.random.default_rng(0))
    found = compare(name, [pair(one, one), pair(one, one)])
    assert (found.test.mean, found.test.lower, found.test.upper, found.test.p_fail) == (0, 0, 0, 1)
    assert found.candidate == found.baseline


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "log_loss", "f1", "average_precision"])
def test_order_of_rows_and_numbers_of_examples_do_not_matter(name):
    draw = np.random.default_rng(8)
    truth = draw.integers(0, 2, 300)
    pairs = [pair(binary(draw, truth=truth), binary(draw, truth=truth)) for _ in range(3)]
    first = compare(name, pairs)
    assert (
        compare(
            name, [Pair(examples=one.examples * 7 + 3, candidate=one.candidate, baseline=one.baseline) for one in pairs]
        )
        == first
    )
    order = draw.permutation(300)
    moved = compare(name, [one.rows(order) for one in pairs])
    assert moved.test.mean == pytest.approx(first.test.mean, abs=1e-9)
    if name in ("accuracy", "roc_auc"):
        assert moved == first


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "log_loss", "f1"])
def test_a_worse_model_is_shown_and_a_better_one_is_not(name):
    draw = np.random.default_rng(21)
    truth = draw.integers(0, 2, 1500)
    bad = [binary(draw, truth=truth, skill=0.5) for _ in range(3)]
    good = [binary(draw, truth=truth, skill=1.2) for _ in range(3)]
    worse = compare(name, [pair(one, two) for one, two in zip(bad, good, strict=True)]).test
    better = compare(name, [pair(one, two) for one, two in zip(good, bad, strict=True)]).test
    assert worse.p_fail < 1e-3
    assert worse.upper < 0 < better.lower
    assert better.p_fail > 0.99
    assert worse.mean == -better.mean


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "mae"])
def test_seeds_may_have_test_sets_of_their_own(name):
    draw = np.random.default_rng(4)
    pairs = []
    for seed in range(3):
        make = regression if name == "mae" else binary
        base = make(draw, 250)
        pairs.append(pair(make(draw, truth=base.truth), base, np.arange(250) + 100 * seed))
    found = compare(name, pairs).test
    assert found.n == 450
    assert found.lower < found.mean < found.upper


@pytest.mark.parametrize(("shared", "most"), [(0.0, 0.01), (0.3, 0.01), (1.0, 0.02)])
def test_unchanged_training_is_seldom_called_worse(shared, most):
    """Both sides are trainings of one kind: some noise strikes all examples of a training, some each alone."""
    draw, count, rejected = np.random.default_rng(6), 600, 0
    truth = draw.integers(0, 2, 250)
    for _ in range(count):
        sides = [
            [binary(draw, truth=truth, skill=1 + 0.3 * shared * draw.normal()) for _ in range(3)] for _ in range(2)
        ]
        rejected += compare("accuracy", [pair(one, two) for one, two in zip(*sides, strict=True)]).test.p_fail <= 0.01
    assert rejected / count <= most


def test_intervals_hold_what_they_say():
    """Nine in ten intervals of one seed hold the true difference of two fixed models."""
    draw, held = np.random.default_rng(9), 0
    for _ in range(600):
        truth = draw.integers(0, 2, 200)
        good = np.where(draw.random(200) < 0.1, 1 - truth, truth)
        bad = np.where(draw.random(200) < 0.15, 1 - truth, truth)
        found = compare("accuracy", [pair(answers(truth, predicted=bad), answers(truth, predicted=good))]).test
        held += found.lower <= -0.05 <= found.upper
    assert 0.86 < held / 600 < 0.95


@pytest.mark.timing
@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "log_loss", "f1", "average_precision"])
def test_a_hundred_thousand_pairs_of_five_seeds_take_seconds(name):
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 2, 100_000)
    pairs = [pair(binary(draw, truth=truth), binary(draw, truth=truth)) for _ in range(5)]
    start = time.process_time()
    compare(name, pairs)
    assert time.process_time() - start < 20
