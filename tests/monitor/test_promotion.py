"""What a version came to when it was promoted: who is asked first, and what if they know nothing."""

from __future__ import annotations

import datetime

import msgspec
import pytest

from tests.support import verdicts
from unitrack.errors import RunNotFoundError
from unitrack.gate.verdict import SeedRun
from unitrack.monitor.promotion import promoted_as
from unitrack.registry import ModelVersion

NAME = "val/accuracy"


class Run:
    def __init__(self, id, value, *, status="finished", lost=0):
        self.id, self.status, self.lost, self.damaged = id, status, lost, False
        self.metrics, self.summary = {}, {NAME: value}


def version(**fields):
    now = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    return ModelVersion(**{"name": "digits", "version": 3, "run": "own", "by": "mia", "time": now, **fields})


def verdict(*, evaluation=None):
    """A verdict whose third seed is the one that was registered."""
    made = verdicts.verdict("pass", (verdicts.metric(NAME, "pass"),))
    runs = [SeedRun(seed=seed, run=f"r{seed}", job="j") for seed in range(5)]
    runs[2] = SeedRun(seed=2, run="own", job="j", evaluation=evaluation)
    return msgspec.structs.replace(made, candidate=msgspec.structs.replace(made.candidate, runs=tuple(runs)))


def found(*here, known=None, **fields):
    def open_run(run):
        for one in here:
            if one.id == run:
                return one
        raise RunNotFoundError(f"no run {run}")

    policy = verdict().policy
    return promoted_as(version(**fields), policy, known, open_run)


def test_the_run_of_the_trusted_evaluation_comes_first():
    made = found(Run("own", 0.8), Run("measured", 0.7), known=verdict(evaluation="measured"))
    assert (made.values[NAME], made.source, made.run.id) == (0.7, "run measured", "measured")
    assert made.seeds[NAME] == verdict().metrics[0].candidate


def test_without_one_it_is_the_run_itself():
    assert found(Run("own", 0.8), known=verdict()).values[NAME] == 0.8
    assert found(Run("own", 0.8), metrics={NAME: 0.5}).values[NAME] == 0.8


def test_without_the_run_it_is_the_seed_of_the_verdict_that_was_registered():
    made = found(known=verdict(), metrics={NAME: 0.5})
    assert made.values[NAME] == verdict().metrics[0].candidate[2]
    assert (made.run, made.source) == (None, f"verdict {verdict().key[:16]}")


def test_a_model_that_no_seed_of_the_verdict_made_is_taken_for_their_mean():
    made = found(known=verdict(), run="another")
    assert made.values[NAME] == pytest.approx(sum(verdict().metrics[0].candidate) / 5)


def test_the_registry_comes_last():
    made = found(metrics={NAME: 0.5})
    assert (made.values, made.source) == ({NAME: 0.5}, "the registry")
    assert found().values == {}


@pytest.mark.parametrize("run", [Run("own", 0.8, status="killed"), Run("own", 0.8, lost=2), Run("own", float("nan"))])
def test_a_run_that_is_not_whole_or_holds_no_number_is_no_evidence(run):
    assert found(run, metrics={NAME: 0.5}).values == {NAME: 0.5}
