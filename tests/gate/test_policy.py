from __future__ import annotations

import math

import pytest

from unitrack.config import GateSettings, MetricRule
from unitrack.errors import ConfigError
from unitrack.gate.policy import in_words, make_policy, policy_digest

ACC = MetricRule(name="acc", goal="maximize", margin=0.02)
LOSS = MetricRule(name="loss", goal="minimize", role="report")


def settings(*rules: MetricRule) -> GateSettings:
    return GateSettings(model="digits", metrics=rules)


def test_a_metric_that_gates_without_a_margin_is_refused_with_an_example() -> None:
    with pytest.raises(ConfigError, match=r"(?s)main:unitrack\.toml: metric 'acc' has no margin.*margin = 0\.01"):
        make_policy(settings(MetricRule(name="acc", goal="maximize")), source="main:unitrack.toml")


@pytest.mark.parametrize("margin", [math.inf, math.nan, -1.0])
def test_a_margin_that_would_let_anything_pass_is_refused(margin: float) -> None:
    with pytest.raises(ConfigError, match="finite number of 0 or more"):
        make_policy(settings(MetricRule(name="acc", goal="maximize", margin=margin)))


def test_a_policy_that_can_fail_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="no metric can fail a candidate"):
        make_policy(settings(LOSS))
    with pytest.raises(ConfigError, match="no metric can fail a candidate"):
        make_policy(settings())


def test_two_rules_for_one_metric_are_refused() -> None:
    with pytest.raises(ConfigError, match="'acc' has two rules"):
        make_policy(settings(ACC, ACC))


def test_equal_rules_have_equal_digests_and_a_looser_margin_another() -> None:
    looser = MetricRule(name="acc", goal="maximize", margin=0.03)
    assert policy_digest(make_policy(settings(ACC))) == policy_digest(make_policy(settings(ACC), source="else"))
    assert policy_digest(make_policy(settings(ACC))) != policy_digest(make_policy(settings(looser)))


def test_the_policy_in_words_names_every_metric_and_what_it_may_lose() -> None:
    both = MetricRule(name="f1", goal="maximize", role="guardrail", margin=0.1, relative_margin=0.05)
    text = "\n".join(in_words(make_policy(settings(ACC, LOSS, both))))
    assert "acc (target, last value, higher is better) may lose less than 0.02." in text
    assert "loss (lower is better) is reported and never decides." in text
    assert "less than 0.1 and less than 0.05 times the baseline's mean" in text
