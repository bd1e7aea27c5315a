"""Optuna itself: a study is a run, its trials are children; pruned, failed, continued, shared, with several objectives."""

import subprocess
import sys

import optuna
import pytest

import unitrack
from unitrack_optuna import RUN, optimize

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study(**options):
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), **options)


def square(trial, run):
    x = trial.suggest_float("x", -1, 1)
    trial.suggest_categorical("kind", ["a", "b"])
    run.log({"loss": x * x}, step=0)
    return x * x


def children(parent):
    return sorted(unitrack.runs(parent=parent), key=lambda view: view.captures["optuna"]["trial"])


def test_a_trial_is_a_child_with_its_params_and_its_value():
    made = study(study_name="squares")
    parent = optimize(made, square, project="shop", n_trials=3)
    views = children(parent)
    assert [view.status for view in views] == ["finished"] * 3
    for view, trial in zip(views, made.trials, strict=True):
        assert view.params == trial.params
        assert view.summary["value"] == view.summary["loss"] == trial.value
        assert trial.user_attrs[RUN] == view.id
        assert view.group == parent


def test_the_studys_run_says_what_was_best():
    made = study(study_name="squares")
    parent = optimize(made, square, project="shop", n_trials=4)
    view = unitrack.get_run(parent)
    assert (view.name, view.project, view.status) == ("squares", "shop", "finished")
    assert view.summary["trials"] == 4
    assert view.summary["best/trial"] == made.best_trial.number
    assert view.summary["best/value"] == made.best_value
    assert view.summary["best/params/x"] == made.best_params["x"]
    assert view.summary["best/run"] == children(parent)[made.best_trial.number].id
    assert made.user_attrs[RUN] == parent
    assert view.params["directions"] == ["minimize"]


def test_a_pruned_trial_is_finished_and_marked_with_what_it_reported():
    def pruned(trial, run):
        trial.report(0.5, 0)
        trial.report(0.7, 1)
        raise optuna.TrialPruned

    made = study()
    (view,) = children(optimize(made, pruned, n_trials=1))
    assert view.status == "finished"
    assert "pruned" in view.tags
    assert list(view.series("reported").values) == [0.5, 0.7]
    assert made.trials[0].state is optuna.trial.TrialState.PRUNED


def test_a_trial_that_raises_is_a_failed_run_and_so_is_its_study():
    def broken(trial, run):
        trial.suggest_float("x", 0, 1)
        raise RuntimeError("no such layer")

    made = study()
    with pytest.raises(RuntimeError, match="no such layer"):
        optimize(made, broken, n_trials=2)
    view = unitrack.get_run(made.user_attrs[RUN])
    (child,) = children(view.id)
    assert (view.status, child.status) == ("failed", "failed")
    assert "no such layer" in child.reason
    assert "x" in child.params


def test_a_failure_that_optuna_is_told_to_catch_lets_the_study_go_on():
    def sometimes(trial, run):
        if trial.number == 0:
            raise RuntimeError("once")
        return 1.0

    parent = optimize(study(), sometimes, n_trials=2, catch=[RuntimeError])
    assert [view.status for view in children(parent)] == ["failed", "finished"]
    assert unitrack.get_run(parent).status == "finished"


def test_a_trial_without_a_value_is_optunas_to_judge_and_the_study_goes_on():
    made = study()
    parent = optimize(made, lambda trial, run: None if trial.number == 0 else 1.0, project="shop", n_trials=2)
    assert [trial.state.name for trial in made.trials] == ["FAIL", "COMPLETE"]
    assert [view.summary.get("value") for view in children(parent)] == [None, 1.0]


def test_a_study_without_a_complete_trial_ends_without_a_best():
    def pruned(trial, run):
        raise optuna.TrialPruned

    view = unitrack.get_run(optimize(study(), pruned, n_trials=1))
    assert view.summary == {"trials": 1}


def test_several_objectives_have_a_value_each_and_a_front():
    made = study(directions=["minimize", "maximize"])
    parent = optimize(made, lambda trial, run: (trial.suggest_float("x", 0, 1), 1.0 - trial.number), n_trials=3)
    assert [view.summary["value/1"] for view in children(parent)] == [1.0, 0.0, -1.0]
    summary = unitrack.get_run(parent).summary
    for trial in made.best_trials:
        assert summary[f"best/{trial.number}/value/0"] == trial.values[0]


CONTINUE = """
import optuna, sys
from unitrack_optuna import optimize
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="shared", storage="sqlite:///study.db")
print(optimize(study, lambda trial, run: trial.suggest_float("x", 0, 1), n_trials=2))
"""


def test_a_study_that_is_continued_by_another_process_continues_its_run():
    made = study(study_name="shared", storage="sqlite:///study.db")
    parent = optimize(made, square, n_trials=1)
    done = subprocess.run([sys.executable, "-c", CONTINUE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == parent
    assert len(children(parent)) == 3
    assert unitrack.get_run(parent).summary["trials"] == 3


def test_a_process_that_joins_a_study_at_work_adds_children_and_leaves_the_study_open():
    made = study(study_name="shared", storage="sqlite:///study.db")

    def joined(trial, run):
        done = subprocess.run([sys.executable, "-c", CONTINUE], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert unitrack.get_run(done.stdout.strip()).status == "running"
        return 1.0

    parent = optimize(made, joined, n_trials=1)
    view = unitrack.get_run(parent)
    assert (view.status, view.summary["trials"], len(children(parent))) == ("finished", 3, 3)


def test_trials_at_the_same_time_in_threads_are_refused():
    with pytest.raises(ValueError, match="start more processes"):
        optimize(study(), square, n_trials=2, n_jobs=2)
