"""`lightgbm.train(..., callbacks=[UnitrackCallback()])`, also in `LGBMClassifier.fit(callbacks=[...])`."""

from __future__ import annotations

from typing import Any

from unitrack import Run
from unitrack_frameworks._runs import Loan, log_model

__all__ = ["UnitrackCallback"]


class UnitrackCallback:
    """Logs each round's evaluations as `valid/auc` ..., which of them are better when higher, and the parameters.

    LightGBM tells no callback that training is over: the run that is begun here, if none is given or open, is
    finished after the last round that was asked for, or else when the process ends. `log_model(booster)` keeps a model.
    """

    order = 15  # after the evaluation, before early stopping, whose exception would hide the last round
    before_iteration = False

    def __init__(self, *, run: Run | None = None, **init: Any) -> None:
        self._loan = Loan(run, **init)
        self._begun = False

    def __call__(self, env: Any) -> None:
        """Log a round."""
        run = self._loan.run
        if not self._begun:
            self._begun = True
            self._begin(run, env)
        values = {}
        for one in env.evaluation_result_list or ():
            name = f"{one[0]}/{one[1]}"
            values[name] = float(one[2])
            if len(one) > 4:
                values[f"{name}/std"] = float(one[4])
        run.log(values, env.iteration)
        if env.iteration + 1 >= env.end_iteration:
            self._loan.finish()

    def _begin(self, run: Run, env: Any) -> None:
        run.config.update({"lightgbm": {name: value for name, value in env.params.items() if _is_plain(value)}})
        for one in env.evaluation_result_list or ():
            run.define_metric(f"{one[0]}/{one[1]}", goal="maximize" if one[3] else "minimize")

    def log_model(self, booster: Any, name: str = "model") -> None:
        """Log a model as LightGBM's own text."""
        log_model(self._loan.run, "model.txt", booster.save_model, name=name)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, list, tuple))
