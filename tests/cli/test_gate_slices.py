"""Gates over logged predictions: the real command, real trainings, every report."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from click.testing import CliRunner
from toy import SETTINGS, commit, edit, gate, make_project, only_verdict

from unitrack.cli import main
from unitrack.gate.verdict import read_verdict

PREDICTING = """\
import random, sys
import unitrack

LEVEL = 0.9
WORSE = "nowhere"
seed = int(sys.argv[1])
draw = random.Random(seed)
ids = [f"row-{at:04}" for at in range(1200)]
truth = [at * 7 % 2 for at in range(1200)]
country = ["fr" if at % 3 else "de" for at in range(1200)]
wrong = [draw.random() > (LEVEL - 0.3 if where == WORSE else LEVEL) for where in country]
with unitrack.init(config={"seed": seed}) as run:
    run.log_predictions(
        ids, truth, [1 - label if bad else label for label, bad in zip(truth, wrong)], slices={"country": country}
    )
"""
SLICED = (
    SETTINGS.split("[[gate.metrics]]")[0]
    + """
[[gate.metrics]]
name = "acc"
goal = "maximize"
margin = 0.05
examples = "accuracy"
slices = ["country"]
slices_gate = true
"""
)


@pytest.fixture
def predicting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, settings=SLICED, train=PREDICTING)
    return tmp_path


def test_a_candidate_that_is_worse_in_one_slice_fails_by_it(predicting: Path) -> None:
    commit("Worse in Germany", WORSE='"de"')
    done = gate()
    assert done.exit_code == 1, done.output
    verdict = read_verdict(only_verdict(predicting))
    (metric,) = verdict.metrics
    decisions = {one.value: one.decision for one in metric.slices}
    assert decisions == {"de": "fail", "fr": "pass"}
    assert metric.examples is not None
    assert (metric.examples.test, metric.examples.n) == ("mcnemar", 1200)
    assert metric.candidate[0] == pytest.approx(0.8, abs=0.05)
    for name in ("terminal", "markdown", "summary", "html", "junit", "sarif"):
        told = CliRunner().invoke(main, ["report", str(only_verdict(predicting)), "--format", name])
        assert told.exit_code == 0, told.output
        assert "country = de" in told.output or "country = `de`" in told.output, name
        assert "McNemar" in html.unescape(told.output), name


def test_an_unchanged_candidate_passes_with_its_slices(predicting: Path) -> None:
    edit("train.py", "import unitrack\n", "import unitrack  # the same\n")
    done = gate()
    assert done.exit_code == 0, done.output
    (metric,) = read_verdict(only_verdict(predicting)).metrics
    assert {one.decision for one in metric.slices} == {"pass"}
