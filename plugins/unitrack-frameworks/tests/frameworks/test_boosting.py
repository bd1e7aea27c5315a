"""LightGBM, XGBoost and scikit-learn for real, on data that ships with scikit-learn."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import unitrack
from unitrack_frameworks import lightgbm as ours_lightgbm
from unitrack_frameworks import xgboost as ours_xgboost
from unitrack_frameworks.sklearn import log_estimator

pytestmark = pytest.mark.filterwarnings("ignore")  # frameworks warn on their own account


@pytest.fixture
def data():
    return train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)


def only():
    (view,) = unitrack.runs()
    return view


def points(view, name):
    found = view.series(name)
    return list(found.steps), list(found.values)


def test_lightgbm_logs_each_round_with_goals_and_parameters(data):
    x, x_test, y, y_test = data
    record = {}
    sets = lightgbm.Dataset(x, y)
    lightgbm.train(
        {"objective": "binary", "metric": ["auc", "binary_logloss"], "verbose": -1, "learning_rate": 0.1},
        sets, num_boost_round=12, valid_sets=[lightgbm.Dataset(x_test, y_test, reference=sets)], valid_names=["valid"],
        callbacks=[ours_lightgbm.UnitrackCallback(project="boost"), lightgbm.record_evaluation(record)],
    )  # fmt: skip
    view = only()
    assert (view.status, view.project) == ("finished", "boost")
    assert points(view, "valid/auc") == (list(range(12)), record["valid"]["auc"])
    assert view.params["lightgbm"]["learning_rate"] == 0.1
    goals = {name: one.goal for name, one in view.metrics.items()}
    assert goals == {"valid/auc": "maximize", "valid/binary_logloss": "minimize"}


def test_lightgbm_that_stops_early_keeps_every_round_and_a_run_that_was_open_stays_open(data):
    x, x_test, y, y_test = data
    run = unitrack.init()
    model = lightgbm.LGBMClassifier(n_estimators=500, learning_rate=0.5, verbose=-1)
    callback = ours_lightgbm.UnitrackCallback()
    model.fit(x, y, eval_set=[(x_test, y_test)], callbacks=[callback, lightgbm.early_stopping(5, verbose=False)])
    callback.log_model(model.booster_)
    assert unitrack.current() is run
    run.finish()
    view = only()
    assert len(points(view, "valid_0/binary_logloss")[0]) == model.best_iteration_ + 5
    assert [one.kind for one in view.artifacts] == ["model"]


def test_lightgbms_cross_validation_has_standard_deviations(data):
    x, _, y, _ = data
    lightgbm.cv(
        {"objective": "binary", "verbose": -1}, lightgbm.Dataset(x, y), num_boost_round=3, nfold=3,
        callbacks=[ours_lightgbm.UnitrackCallback(project="cv")],
    )  # fmt: skip
    assert len(points(only(), "valid/binary_logloss/std")[0]) == 3


def test_xgboost_logs_each_round_its_parameters_and_its_model(data):
    x, x_test, y, y_test = data
    record = {}
    valid = xgboost.DMatrix(x_test, y_test)
    xgboost.train(
        {"objective": "binary:logistic", "max_depth": 3, "eval_metric": "logloss"}, xgboost.DMatrix(x, y),
        num_boost_round=40, evals=[(valid, "valid")], evals_result=record, early_stopping_rounds=3, verbose_eval=False,
        callbacks=[ours_xgboost.UnitrackCallback(project="boost", log_model=True)],
    )  # fmt: skip
    view = only()
    assert view.status == "finished"
    assert points(view, "valid/logloss")[1] == pytest.approx(record["valid"]["logloss"])
    assert view.params["xgboost"]["objective"] == "binary:logistic"
    assert int(view.params["xgboost"]["max_depth"]) == 3
    (model,) = view.artifacts
    booster = xgboost.Booster(model_file=str(unitrack_object(view, model)))
    assert booster.predict(valid).shape == y_test.shape


def unitrack_object(view, artifact):
    from unitrack.journal import layout
    from unitrack.objects import ObjectStore

    path = ObjectStore(layout.objects_dir(view.path.parent.parent)).get(artifact.digest)
    copy = view.path / "copy.json"
    copy.write_bytes(path.read_bytes())
    return copy


def test_xgboosts_cross_validation_and_its_scikit_learn_classes_work_too(data):
    x, x_test, y, y_test = data
    with unitrack.init(id="cv"):
        xgboost.cv(
            {"objective": "binary:logistic"}, xgboost.DMatrix(x, y), num_boost_round=2, nfold=2,
            callbacks=[ours_xgboost.UnitrackCallback()],
        )  # fmt: skip
    with unitrack.init(id="sk"):
        xgboost.XGBClassifier(n_estimators=3, callbacks=[ours_xgboost.UnitrackCallback()]).fit(
            x, y, eval_set=[(x_test, y_test)], verbose=False
        )
    assert len(points(unitrack.get_run("cv"), "test/logloss/std")[0]) == 2
    assert len(points(unitrack.get_run("sk"), "validation_0/logloss")[0]) == 3


@pytest.mark.parametrize(
    ("model", "load", "names"),
    [
        (
            make_pipeline(StandardScaler(), LogisticRegression()),
            load_breast_cancer,
            {"accuracy", "roc_auc", "log_loss"},
        ),
        (RandomForestClassifier(20, random_state=0), load_iris, {"accuracy", "f1", "log_loss"}),
        (LinearSVC(), load_iris, {"accuracy", "balanced_accuracy"}),
        (LinearRegression(), load_diabetes, {"r2", "rmse", "mae"}),
    ],
)
def test_an_estimator_is_logged_with_metrics_predictions_and_model(model, load, names):
    x, x_test, y, y_test = train_test_split(*load(return_X_y=True), random_state=0)
    model.fit(x, y)
    half = ["a" if number % 2 else "b" for number in range(len(y_test))]
    with unitrack.init():
        values = log_estimator(model, x_test, y_test, slices={"half": half}, log_model=True)
    assert names <= set(values)
    view = only()
    assert view.summary["test/r2" if "r2" in names else "test/accuracy"] == pytest.approx(model.score(x_test, y_test))
    assert view.params["estimator"] == type(model).__name__
    kept = view.predictions()
    assert len(kept.ids) == len(y_test)
    assert np.array_equal(np.asarray(kept.y_pred), model.predict(x_test))
    assert {one.kind for one in view.artifacts} == {"model", "predictions"}
