"""`xgboost.train(..., callbacks=[UnitrackCallback()])`, also in `XGBClassifier(callbacks=[...])`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xgboost

from unitrack import Run
from unitrack_frameworks._runs import Loan, log_model

__all__ = ["UnitrackCallback"]


class UnitrackCallback(xgboost.callback.TrainingCallback):
    """Logs each round's evaluations as `valid/logloss` ... and the booster's own parameters.

    With `log_model` the model is logged when training ends, as JSON. `run` is a run that is open already and stays
    so; all else is what `unitrack.init` takes.
    """

    def __init__(self, *, run: Run | None = None, log_model: bool = False, **init: Any) -> None:
        super().__init__()
        self._loan, self._log_model = Loan(run, **init), log_model

    def before_training(self, model: Any) -> Any:
        """Log the parameters as the booster sees them."""
        booster = model.cvfolds[0].bst if hasattr(model, "cvfolds") else model
        config = json.loads(booster.save_config())["learner"]
        how = config["gradient_booster"]
        chosen = {"objective": config["objective"]["name"], "booster": how["name"]}
        chosen |= _leaves(how.get("tree_train_param", {}))
        self._loan.run.config.update({"xgboost": chosen})
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        """Log a round: its mean, and in cross-validation its standard deviation."""
        values = {}
        for data, metrics in evals_log.items():
            for metric, series in metrics.items():
                last = series[-1]
                values[f"{data}/{metric}"] = float(last[0] if isinstance(last, tuple) else last)
                if isinstance(last, tuple):
                    values[f"{data}/{metric}/std"] = float(last[1])
        self._loan.run.log(values, epoch)
        return False

    def after_training(self, model: Any) -> Any:
        """Log which round was best, the model if that is wanted, and finish a run that was begun here."""
        run = self._loan.run
        best = model.attr("best_iteration") if hasattr(model, "attr") else None
        if best is not None:
            run.summary.update({"best_iteration": int(best), "best_score": float(model.attr("best_score"))})
        if self._log_model:
            log_model(run, "model.json", model.save_model)
        self._loan.finish()
        return model


def _leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}
