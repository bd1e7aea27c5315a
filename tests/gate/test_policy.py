from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from unitrack import schemas
from unitrack.config import GateSettings, MetricRule, load_settings
from unitrack.errors import ConfigError
from unitrack.gate.decision import Noise
from unitrack.gate.policy import MetricPolicy, in_words, make_policy, margin_of, policy_digest

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


@pytest.mark.parametrize(
    ("rule", "key", "words"),
    [
        ({"minimum": 0.9, "maximum": 0.8}, "minimum", "minimum 0.9 above maximum 0.8"),
        ({"maximum": math.inf}, "maximum", "use a finite number"),
        ({"margin": "auto", "relative_margin": 0.1}, "relative_margin", "keep one of the two"),
        ({"margin": 0.1, "slices": ("country",)}, "slices", "which metric of the logged predictions"),
        ({"margin": 0.1, "slices_gate": True}, "slices_gate", "no slices"),
        ({"minimum": 0.1, "slices": ("c",), "slices_gate": True, "examples": "f1"}, "slices_gate", "give it a margin"),
        ({"margin": 0.1, "examples": "log_loss"}, "goal", "is one to minimize"),
    ],
)
def test_a_rule_that_says_nothing_or_two_things_is_refused(rule: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        make_policy(settings(ACC, MetricRule(name="f1", goal="maximize", **rule)))
    assert caught.value.key == f"gate.metrics[1].{key}"


def test_a_limit_on_the_candidate_is_rule_enough() -> None:
    policy = make_policy(settings(MetricRule(name="s", goal="minimize", role="budget", maximum=60.0)))
    assert in_words(policy)[-1] == "s (budget, last value, lower is better) may not be above 60."


def test_errors_tell_the_line(tmp_path: Path) -> None:
    (tmp_path / "unitrack.toml").write_text(
        "[gate]\n[[gate.metrics]]\nname = 'a'\ngoal = 'maximize'\nmargin = 1\n"
        "[[gate.metrics]]\nname = 'b'\ngoal = 'maximize'\nminimum = 2\nmaximum = 1\n"
        "[[gate.metrics]]\nname = 'c'\ngoal = 'maximize'\n"
    )
    found = load_settings(tmp_path, env={})
    assert found.gate is not None
    with pytest.raises(ConfigError) as caught:
        make_policy(found.gate, sources=found.sources)
    assert (caught.value.line, caught.value.key) == (9, "gate.metrics[1].minimum")
    only = msgspec.structs.replace(found.gate, metrics=(found.gate.metrics[0], found.gate.metrics[0]))
    with pytest.raises(ConfigError, match="two rules"):
        make_policy(only, sources=found.sources)
    wide = (tmp_path / "unitrack.toml").read_text().replace("maximum = 1\n", "maximum = 3\n")
    (tmp_path / "unitrack.toml").write_text(wide)
    found = load_settings(tmp_path, env={})
    with pytest.raises(ConfigError, match="'c' has no margin") as caught:
        make_policy(found.gate, sources=found.sources)  # type: ignore[arg-type]
    assert caught.value.line == 11


def test_a_margin_is_a_number_or_auto(tmp_path: Path) -> None:
    text = "[[gate.metrics]]\nname = 'a'\ngoal = 'maximize'\nmargin = {}\n"
    (tmp_path / "unitrack.toml").write_text(text.format("'auto'"))
    found = load_settings(tmp_path, env={}).gate
    assert found is not None
    assert make_policy(found).metrics[0].margin == "auto"
    (tmp_path / "unitrack.toml").write_text(text.format("'wide'"))
    with pytest.raises(ConfigError, match=r"a number of at least 0 or 'auto', not 'wide'") as caught:
        load_settings(tmp_path, env={})
    assert caught.value.line == 4


def test_a_policy_in_words_says_how_gaps_noise_slices_and_undecided_gates_are_taken() -> None:
    rule = MetricRule(
        name="f1", goal="maximize", margin="auto", minimum=0.5, nan="undecided", new="report", examples="f1",
        slices=("country",), slices_gate=True,
    )  # fmt: skip
    words = "\n".join(in_words(make_policy(GateSettings(metrics=(rule,), undecided="block", history=0))))
    assert "an automatic margin (1% of the baseline's mean, or its noise) and not be below 0.5." in words
    assert "Here NaN is undecided, a baseline without it is only reported." in words
    assert "f1 of the predictions" in words
    assert "Slices: country (they gate), of at least 200 examples, 30 of them positive: one that is shown" in words
    assert "Slices that gate get the same part of that rate as the targets do." in words
    assert "The noise of earlier gates is not used." in words
    assert "An undecided gate keeps the candidate out." in words


def test_settings_are_valid_under_the_policys_schema_and_typing_errors_are_not() -> None:
    validator = jsonschema.Draft202012Validator(schemas.load("policy"))
    rules = [{"name": "a", "goal": "maximize", "margin": "auto"}, {"name": "b", "goal": "minimize", "maximum": 3}]
    validator.validate({"model": "m", "metrics": rules, "undecided": "block"})
    for bad in ({"goal": "up"}, {"margin": -1}, {"margin": "wide"}, {"marign": 1}):
        assert list(validator.iter_errors({"metrics": [{**rules[0], **bad}]}))


@pytest.mark.parametrize("pairs", [1, 5])
def test_an_automatic_margin_is_the_larger_of_one_percent_and_the_noise(pairs: int) -> None:
    auto = MetricPolicy(name="a", goal="maximize", margin="auto")
    found = margin_of(auto, -2.0, noise=Noise(sd=0.05, df=20), pairs=pairs)
    assert found is not None
    assert found.value == pytest.approx(max(0.02, 0.1 / math.sqrt(pairs)))
