"""`Trainer(logger=UnitrackLogger(project="digits"))`, for `lightning` and `pytorch_lightning`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from unitrack import Run
from unitrack_frameworks._runs import Loan, numbers

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.utilities import rank_zero_only
except ImportError:
    from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
    from pytorch_lightning.utilities import rank_zero_only

__all__ = ["UnitrackLogger"]

_STATUS = {"success": "finished", "finished": "finished", "failed": "failed", "aborted": "killed"}


class UnitrackLogger(Logger):
    """Logs what `self.log` and `save_hyperparameters` give, and the checkpoints if `log_model`.

    `log_model` is False, True (the best and the last checkpoint, when training ends) or "all" (each as it is saved).
    `run` is a run that is open already and stays so; all else is what `unitrack.init` takes. Rank zero logs.
    """

    def __init__(self, *, run: Run | None = None, log_model: bool | str = False, **init: Any) -> None:
        super().__init__()
        self._loan, self._log_model = Loan(run, **init), log_model
        self._project = init.get("project")
        self._logged: dict[str, float] = {}
        self._checkpoints: Any = None

    @property
    def name(self) -> str | None:
        """Return the project: checkpoints are kept under it."""
        return self._loan.run.project if self._loan.begun else self._project

    @property
    def version(self) -> str | None:
        """Return the run's id, on rank zero once it is begun."""
        return self._loan.run.id if self._loan.begun else None

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """Return the run, for all that Lightning has no word for: `logger.experiment.log_figure(...)`."""
        return self._loan.run

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Log hyperparameters."""
        values = vars(params) if isinstance(params, Namespace) else dict(params)
        self.experiment.config.update(values)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics at Lightning's own step."""
        self.experiment.log(numbers(metrics), step)

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Take note of the callback, and log what it saved if all is wanted."""
        self._checkpoints = checkpoint_callback
        if self._log_model == "all":
            self._log_checkpoints()

    def _log_checkpoints(self) -> None:
        found = self._checkpoints
        paths = {str(getattr(found, "last_model_path", "") or ""), str(getattr(found, "best_model_path", "") or "")}
        for path in sorted(paths - {""}):
            aliases = ["best"] if path == found.best_model_path else []
            score = found.current_score if aliases else None
            metadata = {"score": float(score)} if score is not None else {}
            self.experiment.log_model(path, name="checkpoint", aliases=aliases, metadata=metadata)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Finish a run that was begun here; one that is tested afterwards goes on."""
        if not self._loan.begun:
            return
        if self._log_model is True and self._checkpoints is not None:
            self._log_checkpoints()
        self._loan.finish(_STATUS.get(status, "finished"))
