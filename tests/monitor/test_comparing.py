"""Metrics on fresh data against those at promotion: what is shown, what is not, and how often it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from unitrack.config import GateSettings, MetricRule
from unitrack.errors import EvidenceError, UsageError
from unitrack.gate.policy import make_policy
from unitrack.media.predictions import collect
from unitrack.monitor import Promoted, compare_metrics
from unitrack.monitor.two_samples import FEWEST, contrast


def predictions(seed, n=1000, *, skill=1.0, share=0.5):
    random = np.random.RandomState(seed)
    truth = (random.uniform(size=n) < share).astype(int)
    scores = 1 / (1 + np.exp(-(skill * (2 * truth - 1) + random.normal(size=n))))
    return collect(range(n), truth, (scores > 0.5).astype(int), scores, classes=[0, 1])


def values(seed, n=1000, *, noise=1.0):
    random = np.random.RandomState(seed)
    truth = random.normal(size=n)
    return collect(range(n), truth, truth + noise * random.normal(size=n))


class Run:
    """What a comparison reads of a run."""

    def __init__(self, found=None, **numbers):
        self.id, self.metrics, self.summary, self._found = "r", {}, numbers, found

    def predictions(self, name):
        if self._found is None:
            raise UsageError(f"run r has no predictions {name!r}")
        return self._found


def judge(fresh, promoted, *, earlier=(), margin=0.05, **rule):
    fields = {"name": "acc", "goal": "maximize", "margin": margin, **rule}
    other = MetricRule(name="other", goal="minimize", maximum=1.0)  # a policy of reports alone is none
    policy = make_policy(GateSettings(metrics=(MetricRule(**fields), other)))
    return compare_metrics(policy, fresh, promoted, {fields["name"]: earlier})[0]


def promoted(run=None, **numbers):
    return Promoted(source="run training", run=run, values=numbers)


def of_predictions(fresh, reference, **rule):
    own = Run(reference)
    metric = rule.pop("examples", "accuracy")
    return judge(Run(fresh), promoted(own, acc=0.8), examples=metric, **rule)


# -- two samples -----------------------------------------------------------------------------------


def test_two_accuracies_differ_by_what_statsmodels_says_of_two_proportions():
    from statsmodels.stats.proportion import confint_proportions_2indep

    one, two = predictions(1, 800), predictions(2, 600)
    counts = [sum(a == b for a, b in zip(side.y_true, side.y_pred, strict=True)) for side in (one, two)]
    found = contrast("accuracy", one, two)
    low, high = confint_proportions_2indep(counts[0], 800, counts[1], 600, alpha=0.1, method="wald")
    assert found.difference == pytest.approx(counts[0] / 800 - counts[1] / 600)
    assert found.error * 2 * 1.645 == pytest.approx(high - low, rel=0.02)


def test_the_error_of_a_ranked_metric_is_what_simulation_says():
    found = contrast("roc_auc", predictions(1), predictions(2))
    drawn = [sk.roc_auc_score(p.y_true, p.scores) for p in map(predictions, range(100, 400))]
    assert found.error == pytest.approx(math.sqrt(2) * np.std(drawn), rel=0.15)
    assert found.fresh == pytest.approx(sk.roc_auc_score(predictions(1).y_true, predictions(1).scores))


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        ("f1", lambda p: sk.f1_score(p.y_true, p.y_pred)),
        ("log_loss", lambda p: sk.log_loss(p.y_true, p.scores)),
        ("average_precision", lambda p: sk.average_precision_score(p.y_true, p.scores)),
    ],
)
def test_the_error_of_any_other_metric_is_what_simulation_says(metric, score):
    found = contrast(metric, predictions(1), predictions(2))
    drawn = [score(p) for p in map(predictions, range(100, 400))]
    assert found.error == pytest.approx(math.sqrt(2) * np.std(drawn), rel=0.2)


def test_with_many_examples_the_jackknife_says_what_the_bootstrap_does():
    few, many = (
        contrast("rmse", values(1, 15_000), values(2, 15_000)),
        contrast("rmse", values(1, 30_000), values(2, 30_000)),
    )
    assert (few.test, many.test) == ("bootstrap", "jackknife")
    assert many.error == pytest.approx(few.error / math.sqrt(2), rel=0.15)
    assert contrast("accuracy", predictions(1), predictions(2)).test == "two proportions"


def test_a_metric_to_minimize_is_turned_so_that_more_is_better():
    found = contrast("rmse", values(1, noise=1.2), values(2, noise=1.0))
    assert found.difference < 0 < found.fresh - found.reference


@pytest.mark.parametrize(
    ("metric", "sides", "words"),
    [
        ("accuracy", (predictions(1, FEWEST - 1), predictions(2)), "fresh predictions are 29 examples"),
        ("f1", (predictions(1), predictions(2, share=0.005)), "promotion's predictions have . examples of the class"),
        ("accuracy", (predictions(1), collect(range(50), ["a"] * 50, ["a"] * 50)), "one side's labels are texts"),
        ("mae", (collect(range(50), ["a"] * 50, ["a"] * 50),) * 2, "about numbers"),
        ("log_loss", (values(1), values(2)), "needs scores"),
        (
            "roc_auc",
            (predictions(1), collect(range(99), [0, 1, 2] * 33, None, np.full((99, 3), 1 / 3))),
            "classes differ",
        ),
    ],
)
def test_predictions_that_cannot_be_compared_say_why(metric, sides, words):
    with pytest.raises(EvidenceError, match=words):
        contrast(metric, *sides)


# -- decisions -------------------------------------------------------------------------------------


def test_a_loss_beyond_the_margin_that_is_shown_is_worse():
    found = of_predictions(predictions(1, skill=0.5), predictions(2))
    assert (found.decision, found.basis) == ("fail", "two proportions")
    assert found.adjusted < 0.01
    assert found.upper < -found.margin


def test_the_same_on_fresh_data_holds():
    found = of_predictions(predictions(1, 4000), predictions(2, 4000))
    assert found.decision == "pass"
    assert found.lower > -found.margin


def test_a_few_examples_show_nothing_either_way():
    found = of_predictions(predictions(1, 60, skill=0.8), predictions(2, 60, skill=1.2))
    assert found.difference < 0
    assert found.decision == "undecided"
    assert "Neither worse" in found.reason


def test_a_shown_loss_within_the_margin_is_not_worse():
    assert of_predictions(predictions(1, 9000, skill=0.9), predictions(2, 9000), margin=0.2).decision == "pass"


@pytest.mark.parametrize(("metric", "simulated"), [("accuracy", 400), ("roc_auc", 400), ("f1", 80)])
def test_an_unchanged_model_is_called_worse_no_more_often_than_the_level(metric, simulated):
    # No margin to speak of: the p-value alone decides.
    found = [
        of_predictions(predictions(2 * at, 200), predictions(2 * at + 1, 200), examples=metric, margin=1e-9).p_fail
        for at in range(simulated)
    ]
    for level in (0.01, 0.1):
        assert np.mean(np.array(found) <= level) <= level + 3 * math.sqrt(level * (1 - level) / simulated)


def test_one_number_alone_is_no_evidence_of_itself():
    found = judge(Run(acc=0.5), promoted(acc=0.9))
    assert (found.decision, found.basis, found.difference) == ("undecided", "none", -0.4)
    assert "log predictions" in found.reason


def test_earlier_checks_tell_how_much_a_number_varies():
    earlier = [0.001, -0.002, 0.002, -0.001]
    worse, fine = (judge(Run(acc=acc), promoted(acc=0.9), earlier=earlier) for acc in (0.5, 0.899))
    assert (worse.decision, fine.decision, fine.basis) == ("fail", "pass", "earlier checks")
    sd = np.std(earlier, ddof=1)
    assert worse.p_fail == pytest.approx(stats.t.cdf(-0.4 / sd, 3))
    assert judge(Run(acc=0.5), promoted(acc=0.9), earlier=earlier[:2]).decision == "undecided"
    assert judge(Run(acc=0.8), promoted(acc=0.9), earlier=[0.1, -0.1, 0.05]).decision == "undecided"


def test_earlier_checks_that_never_vary_are_no_noise_of_zero():
    assert judge(Run(acc=0.5), promoted(acc=0.9), earlier=[0.01] * 5).decision == "undecided"


@pytest.mark.parametrize(("acc", "decision"), [(0.5, "fail"), (0.7, "undecided"), (0.9, "pass")])
def test_a_limit_of_the_policy_holds_on_fresh_data_too(acc, decision):
    earlier = [0.01, -0.02, 0.02, -0.01]
    assert judge(Run(acc=acc), promoted(acc=0.9), earlier=earlier, margin=None, minimum=0.7).decision == decision


def test_a_limit_needs_no_value_of_the_promotion_when_predictions_are_logged():
    run = Run(predictions(2))
    found = judge(Run(predictions(1)), promoted(run), margin=None, minimum=0.5, examples="accuracy")
    assert found.decision == "pass"


def test_what_was_not_measured_or_is_no_number_never_passes():
    assert judge(Run(), promoted(acc=0.9)).decision == "undecided"
    assert judge(Run(acc=math.nan), promoted(acc=0.9)).decision == "fail"
    assert judge(Run(acc=0.9), promoted()).decision == "undecided"
    assert judge(Run(), promoted(), role="budget", maximum=3.0, margin=None).decision == "reported"
    assert judge(Run(acc=0.1), promoted(acc=0.9), role="report", margin=None).decision == "reported"


def test_predictions_that_are_gone_fall_back_on_earlier_checks_and_are_told():
    found = judge(Run(predictions(1)), promoted(Run(), acc=0.8), examples="accuracy", earlier=[0.01, -0.01, 0.0])
    assert found.basis == "earlier checks"
    assert "has no predictions" in found.reason


def test_many_metrics_share_the_rate_of_false_alarms():
    rules = tuple(MetricRule(name=f"m{at}", goal="maximize", margin=0.001) for at in range(8))
    numbers = {f"m{at}": 0.9 for at in range(8)}
    earlier = [0.01, -0.01, 0.02, -0.02, 0.005, -0.005]
    found = compare_metrics(
        make_policy(GateSettings(metrics=rules)),
        Run(**{**numbers, "m0": 0.85}),
        promoted(**numbers),
        dict.fromkeys(numbers, earlier),
    )
    assert found[0].adjusted == pytest.approx(8 * found[0].p_fail)
    assert (found[0].p_fail < 0.01, found[0].decision) == (True, "undecided")
