from __future__ import annotations

import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import scipy.stats

from unitrack.config import GateSettings, MetricRule, load_settings
from unitrack.gate.calibration import Calibration, CalibrationSide, MetricCalibration, calibrate, rules_of, toml_of
from unitrack.gate.history import known_noise
from unitrack.gate.past import earlier_differences
from unitrack.gate.policy import MetricPolicy, Policy
from unitrack.gate.verdict import SeedRun

ACC = MetricPolicy(name="acc", goal="maximize")


class FakeRun(SimpleNamespace):
    """A run by its final values: what calibration reads of one."""

    @property
    def metrics(self) -> dict[str, Any]:
        return dict.fromkeys(self.values)

    @property
    def summary(self) -> dict[str, Any]:
        return {}

    def series(self, name: str) -> Any:
        return SimpleNamespace(values=[self.values[name]])


def side(values: list[float], name: str = "acc") -> dict[int, Any]:
    return {seed: FakeRun(values={name: value}) for seed, value in enumerate(values)}


def measured(first: list[float], second: list[float], rule: MetricPolicy = ACC) -> MetricCalibration:
    policy = Policy(model="m", metrics=(rule,))
    _, (one,) = calibrate(policy, range(len(first)), side(first, rule.name), side(second, rule.name))
    return one


def test_deterministic_training_has_no_noise_of_pairs_but_its_seeds_spread() -> None:
    values = [0.90, 0.92, 0.91, 0.93, 0.89]
    one = measured(values, values)
    assert one.tier == "bit_equal"
    assert one.pair_noise is not None and one.seed_spread is not None
    assert one.pair_noise.sd == 0.0
    assert one.seed_spread.sd == pytest.approx(scipy.stats.tstd(values))
    assert one.correlation == 1.0
    assert one.pairs_unchanged == 1
    assert one.noise == pytest.approx(math.sqrt(2) * one.seed_spread.sd)
    assert one.pairs_changed is not None and 2 <= one.pairs_changed <= 10


def test_the_interval_of_a_standard_deviation_is_that_of_chi_squared() -> None:
    first, second = [0.90, 0.92, 0.91, 0.93], [0.91, 0.92, 0.90, 0.94]
    one = measured(first, second)
    noise = one.pair_noise
    assert noise is not None
    assert noise.sd == pytest.approx(math.sqrt(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / 4))
    assert noise.df == 4
    assert noise.lower == pytest.approx(noise.sd * math.sqrt(4 / scipy.stats.chi2.ppf(0.975, 4)))
    assert noise.upper == pytest.approx(noise.sd * math.sqrt(4 / scipy.stats.chi2.ppf(0.025, 4)))
    assert one.correlation == pytest.approx(scipy.stats.pearsonr(first, second).statistic)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw, held = random.Random(7), 0
    for _ in range(400):
        base = [draw.gauss(0, 1) for _ in range(5)]
        one = measured([b + draw.gauss(0, 0.3) for b in base], [b + draw.gauss(0, 0.3) for b in base])
        assert one.pair_noise is not None
        held += one.pair_noise.lower <= 0.3 * math.sqrt(2) <= one.pair_noise.upper
    assert 0.92 <= held / 400 <= 0.98


def test_a_margin_is_two_standard_deviations_of_the_mean_or_a_percent_of_the_value_rounded_up() -> None:
    noisy = measured([0.5, 0.7, 0.6, 0.8, 0.4], [0.5, 0.7, 0.6, 0.8, 0.4])
    assert noisy.noise is not None and noisy.suggested is not None
    assert 2 * noisy.noise / math.sqrt(5) <= noisy.suggested <= 1.1 * 2 * noisy.noise / math.sqrt(5)
    calm = measured([0.9001, 0.9, 0.9], [0.9, 0.9, 0.9])
    assert calm.suggested == 0.0091
    assert measured([-250.0, -250.0], [-250.0, -250.0]).suggested == 2.5


def test_a_margin_of_the_policy_is_judged_and_the_suggestion_stands_beside_it() -> None:
    values = [0.90, 0.92, 0.91, 0.93, 0.89]
    one = measured(values, values, msgspec.structs.replace(ACC, margin=0.001))
    assert (one.margin, one.margin_is) == (0.001, "the policy's")
    assert one.suggested is not None and one.suggested > 0.01
    assert one.pairs_changed is None or one.pairs_changed > 500


def test_what_later_gates_start_from_is_the_larger_noise() -> None:
    """Pairs that are tied by their seeds would make a gate too sure of a candidate whose seeds are not."""
    draw, ratios = random.Random(11), []
    for _ in range(200):
        base = [draw.gauss(0, 1) for _ in range(5)]
        one = measured([b + draw.gauss(0, 0.01) for b in base], [b + draw.gauss(0, 0.01) for b in base])
        noise = known_noise({"acc": [one.differences]}, cap=20)["acc"]
        ratios.append(noise.sd**2 / 2)
    assert 0.85 <= sum(ratios) / len(ratios) <= 1.6
    untied = measured([0.1, 0.5, 0.3], [0.4, 0.1, 0.6])
    assert untied.differences == pytest.approx((-0.3, 0.4, -0.3))


@pytest.mark.parametrize("values", [[0.9, float("nan"), 0.9], [0.9, float("inf"), 0.9], [0.9]])
def test_values_that_say_nothing_give_no_figures(values: list[float]) -> None:
    one = measured(values, values)
    assert (one.mean, one.noise, one.margin, one.suggested, one.differences) == (None, None, None, None, ())


def test_without_noise_at_all_an_unchanged_commit_needs_one_pair() -> None:
    one = measured([0.9] * 3, [0.9] * 3)
    assert (one.noise, one.detectable, one.pairs_unchanged, one.pairs_changed) == (0.0, 0.0, 1, 1)


def test_without_rules_every_metric_that_all_runs_logged_gets_one() -> None:
    views: list[Any] = [
        FakeRun(values={"acc": 1.0, "val/loss": 1.0, "only": 1.0}),
        FakeRun(values={"acc": 1, "val/loss": 2, "closs": 1}),
    ]
    assert [(rule.name, rule.goal) for rule in rules_of(None, views)] == [("acc", "maximize"), ("val/loss", "minimize")]
    given = GateSettings(metrics=(MetricRule(name="f1", goal="maximize"),))
    assert [rule.name for rule in rules_of(given, views)] == ["f1"]


def calibration(*metrics: MetricCalibration, rules: tuple[MetricPolicy, ...]) -> Calibration:
    runs = (SeedRun(seed=0, run="r", job="j"),)
    return Calibration(
        created=1.0, unitrack="0", place="here", tier=None, policy=Policy(model="m", metrics=rules),
        candidate=CalibrationSide(commit="c", runs=runs), baseline=CalibrationSide(commit="c", runs=runs),
        seeds=(0, 1, 2), metrics=metrics, seconds=1.0,
    )  # fmt: skip


def test_the_suggested_rules_can_be_pasted(tmp_path: Path) -> None:
    rules = (
        ACC,
        MetricPolicy(name='od"d\\na\nme', goal="minimize", role="guardrail", summary="best"),
        MetricPolicy(name="gone", goal="maximize"),
    )
    values = [0.5, 0.7, 0.6]
    made = calibration(
        measured(values, values),
        measured([1.0, 2.0, 3e-7], [1.0, 2.0, 3e-7], rules[1]),
        MetricCalibration(name="gone", first=(None,) * 3, second=(None,) * 3),
        rules=rules,
    )
    for ruled in (True, False):
        (tmp_path / "unitrack.toml").write_text(toml_of(made, ruled=ruled))
        read = load_settings(tmp_path, env={}).gate
        assert read is not None
        assert [(one.name, one.goal, one.role, one.summary) for one in read.metrics] == [
            (one.name, one.goal, one.role, one.summary) for one in rules
        ]
        assert [one.margin for one in read.metrics] == [one.suggested for one in made.metrics]
    assert "no margin can be suggested" in toml_of(made, ruled=True)
    assert toml_of(made, ruled=False).count("check it") == 3


def test_later_gates_find_a_calibrations_noise(tmp_path: Path) -> None:
    values = [0.5, 0.7, 0.6]
    made = calibration(measured(values, values), rules=(ACC,))
    path = tmp_path / "gate/calibration-x/calibration.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(msgspec.json.encode(made))
    found = earlier_differences(tmp_path, made.policy, place="here", evaluated=False, without=())
    assert found == {"acc": [made.metrics[0].differences]}
    assert not earlier_differences(tmp_path, made.policy, place="there", evaluated=False, without=())["acc"]
