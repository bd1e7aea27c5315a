"""Run a study's trials, each as a unitrack run of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import unitrack
from unitrack.errors import RunExistsError

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

    from unitrack import Run

__all__ = ["RUN", "optimize"]

RUN = "unitrack_run"  # a user attribute of the study and of each trial

Objective = Callable[["Trial", "Run"], "float | Sequence[float]"]


def optimize(study: Study, objective: Objective, *, project: str | None = None, **options: Any) -> str:
    """Call `study.optimize` with `options` and return the id of the study's run, which is open all the while.

    `objective` takes the trial and its open run. What the trial suggests are the run's params, its values the metrics
    `value` (`value/0`, `value/1` ... of several), what it reports the metric `reported` by step; a pruned trial is a
    finished run with the tag `pruned`, one that raises a failed run. The study's run has the best trial's number, run,
    values and params as its summary. A study that is continued continues its run. Trials run one at a time in a process
    (no `n_jobs`); several processes may share a study by Optuna's storage, each of them adds children to the one run.
    """
    if options.get("n_jobs", 1) != 1:
        raise ValueError("optimize() runs one trial at a time: start more processes on one storage instead of n_jobs")
    run = _open(study, project)
    parent = str(study.user_attrs[RUN])
    try:
        study.optimize(lambda trial: _try(trial, objective, parent, project), **options)
    except BaseException as error:
        _end(study, run or _open(study, project), "failed", f"{type(error).__name__}: {error}")
        raise
    _end(study, run or _open(study, project), "finished", None)
    return parent


def _open(study: Study, project: str | None) -> Run | None:
    """Begin or continue the study's run; None while another process has it open."""
    known = study.user_attrs.get(RUN)
    config = {
        "directions": [direction.name.lower() for direction in study.directions],
        "sampler": type(study.sampler).__name__,
        "pruner": type(study.pruner).__name__,
    }
    try:
        run = unitrack.init(project, id=known, name=study.study_name, config=config)
    except RunExistsError:
        return None
    run.set_tags("study")
    if known is None:
        study.set_user_attr(RUN, run.id)
    return run


def _end(study: Study, run: Run | None, status: Any, reason: str | None) -> None:
    """Say what is best so far and close the study's run, unless another process is still at it and will."""
    if run is None:
        return
    run.summary["trials"] = len(study.get_trials(deepcopy=False))
    for trial in study.best_trials:  # of several objectives, those that no other beats in all
        prefix = "best" if len(study.directions) == 1 else f"best/{trial.number}"
        run.summary[f"{prefix}/trial"] = trial.number
        run.summary[f"{prefix}/run"] = trial.user_attrs.get(RUN)
        for name, value in [
            *_named(trial.values).items(),
            *((f"params/{key}", it) for key, it in trial.params.items()),
        ]:
            run.summary[f"{prefix}/{name}"] = value
    run.finish(status, reason=reason)


def _try(trial: Trial, objective: Objective, parent: str, project: str | None) -> Any:
    from optuna import TrialPruned

    pruned: TrialPruned | None = None
    values: Any = None
    with unitrack.init(project, name=f"trial {trial.number}", parent=parent, group=parent) as run:
        trial.set_user_attr(RUN, run.id)
        run.capture("optuna", {"study": trial.study.study_name, "trial": trial.number})
        try:
            values = objective(trial, run)
            if values is not None:  # Optuna says what is wrong with that, and goes on
                run.log(_named(values))
        except TrialPruned as error:
            pruned = error
            run.set_tags("pruned")
        finally:
            run.config.update(trial.params)
            _log_reports(trial, run)
    if pruned is not None:
        raise pruned
    return values


def _log_reports(trial: Trial, run: Run) -> None:
    for step, value in sorted(trial.storage.get_trial(trial._trial_id).intermediate_values.items()):
        run.log({"reported": value}, step=step)


def _named(values: Any) -> dict[str, float]:
    several = list(values) if isinstance(values, Sequence) else [values]
    if len(several) == 1:
        return {"value": float(several[0])}
    return {f"value/{at}": float(value) for at, value in enumerate(several) if not math.isnan(value)}
