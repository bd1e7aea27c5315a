"""`log_estimator(estimator, X_test, y_test)`: parameters, metrics, predictions and the model of one fit."""

from __future__ import annotations

from functools import partial
from typing import Any

import joblib
from sklearn import metrics
from sklearn.base import is_classifier, is_regressor

from unitrack import Run
from unitrack_frameworks._runs import Loan
from unitrack_frameworks._runs import log_model as save_model

__all__ = ["evaluate", "log_estimator"]

_LOSSES = ("log_loss", "mae", "rmse")


def log_estimator(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    run: Run | None = None,
    split: str = "test",
    ids: Any = None,
    slices: Any = None,
    log_model: bool = False,
    step: float | None = None,
) -> dict[str, float]:
    """Log a fitted estimator's parameters, its metrics on `X` and `y` as `test/accuracy` ..., and what it predicts.

    The run is the one given or the current one, which stays open, else a new one. `ids` tell examples apart, by their
    position unless given, so that a gate can compare two models example by example; `slices` as in
    `Run.log_predictions`.
    With `log_model` the estimator is pickled by joblib: load it only where you trust who logged it.
    Returns the metrics.
    """
    loan = Loan(run)
    run = loan.run
    run.config.update({"estimator": type(estimator).__name__, "params": _params(estimator)})
    values = evaluate(estimator, X, y)
    run.log({f"{split}/{name}": value for name, value in values.items()}, step)
    for name in values:
        run.define_metric(f"{split}/{name}", goal="minimize" if name in _LOSSES else "maximize")
    _log_predictions(run, estimator, X, y, ids=ids, slices=slices, split=split)
    if log_model:
        save_model(run, "model.joblib", partial(joblib.dump, estimator))
    loan.finish()
    return values


def evaluate(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """Return the usual metrics of a classifier or regressor; of any other its own score."""
    if is_classifier(estimator):
        return _classification(estimator, X, y)
    if is_regressor(estimator):
        predicted = estimator.predict(X)
        return {
            "r2": float(metrics.r2_score(y, predicted)),
            "rmse": float(metrics.mean_squared_error(y, predicted) ** 0.5),
            "mae": float(metrics.mean_absolute_error(y, predicted)),
        }
    return {"score": float(estimator.score(X, y))}


def _classification(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    predicted = estimator.predict(X)
    found = {
        "accuracy": float(metrics.accuracy_score(y, predicted)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(y, predicted)),
        "f1": float(metrics.f1_score(y, predicted, average="macro")),
    }
    if hasattr(estimator, "predict_proba"):
        scores = estimator.predict_proba(X)
        found["log_loss"] = float(metrics.log_loss(y, scores, labels=estimator.classes_))
        if len(estimator.classes_) == 2:
            found["roc_auc"] = float(metrics.roc_auc_score(y, scores[:, 1]))
    return found


def _log_predictions(run: Run, estimator: Any, X: Any, y: Any, *, ids: Any, slices: Any, split: str) -> None:
    ids = list(range(len(y))) if ids is None else ids
    fields: dict[str, Any] = {"slices": slices, "split": split}
    if is_classifier(estimator) and hasattr(estimator, "predict_proba"):
        scores = estimator.predict_proba(X)
        two = len(estimator.classes_) == 2
        fields.update(scores=scores[:, 1] if two else scores, classes=list(estimator.classes_))
    run.log_predictions(ids, y, estimator.predict(X), **fields)


def _params(estimator: Any) -> dict[str, Any]:
    """Return parameters as the estimator tells them; parts that are estimators by their class, for they tell theirs."""
    return {
        name: type(value).__name__ if hasattr(value, "get_params") else value
        for name, value in estimator.get_params(deep=True).items()
        if name != "steps"
    }
