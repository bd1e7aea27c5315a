"""`model.fit(..., callbacks=[UnitrackCallback(project="digits")])`, for Keras 3 with any backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from unitrack import Run
from unitrack_frameworks._runs import Loan, log_model, numbers

__all__ = ["UnitrackCallback"]


class UnitrackCallback(keras.callbacks.Callback):
    """Logs each epoch's metrics as `train/loss`, `val/loss` ..., and each `log_every` batches as `batch/loss` if set.

    With `log_model` the model is logged when training ends, as a `.keras` file. `run` is a run that is open already
    and stays so; all else is what `unitrack.init` takes.
    """

    def __init__(
        self, *, run: Run | None = None, log_every: int | None = None, log_model: bool = False, **init: Any
    ) -> None:
        super().__init__()
        self._loan, self._log_every, self._log_model = Loan(run, **init), log_every, log_model
        self._batch = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log how the model is trained."""
        chosen: dict[str, Any] = {"fit": {key: value for key, value in (self.params or {}).items() if key != "verbose"}}
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            chosen["optimizer"] = {
                name: value for name, value in optimizer.get_config().items() if isinstance(value, (int, float, str))
            }
        chosen["model"] = {"name": self.model.name, "parameters": self.model.count_params()}
        self._loan.run.config.update(chosen)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log each so many batches."""
        self._batch += 1
        if self._log_every and self._batch % self._log_every == 0:
            self._loan.run.log({f"batch/{name}": value for name, value in numbers(logs or {}).items()}, self._batch)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log an epoch; the step is its number, from zero as Keras counts."""
        self._loan.run.log({_named(name): value for name, value in numbers(logs or {}).items()}, epoch)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log the model if that is wanted, and finish a run that was begun here."""
        if self._log_model:
            log_model(self._loan.run, "model.keras", self.model.save)
        self._loan.finish()


def _named(name: str) -> str:
    return f"val/{name[4:]}" if name.startswith("val_") else f"train/{name}"
