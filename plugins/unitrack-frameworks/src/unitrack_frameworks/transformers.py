"""`Trainer(..., callbacks=[UnitrackCallback(project="digits")])`, with `report_to="none"` for the others."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from unitrack import Run
from unitrack_frameworks._runs import Loan, log_model, numbers

__all__ = ["UnitrackCallback"]

_PARTS = ("eval", "test")


class UnitrackCallback(TrainerCallback):
    """Logs metrics as `train/loss`, `eval/loss` ..., the arguments and the model's configuration.

    With `log_model` the model is logged when training ends: the best one if the trainer loads it. `run` is a run that
    is open already and stays so; all else is what `unitrack.init` takes. The main process logs.
    """

    def __init__(self, *, run: Run | None = None, log_model: bool = False, **init: Any) -> None:
        self._loan, self._log_model, self._training = Loan(run, **init), log_model, False

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Log what was chosen."""
        if not state.is_world_process_zero:
            return
        self._training = True
        model = named.get("model")
        config = getattr(model, "config", None)
        chosen = {"args": args.to_sanitized_dict()}
        if config is not None:
            chosen["model"] = config.to_dict() if hasattr(config, "to_dict") else dict(config)
        self._loan.run.config.update(chosen)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Log metrics at the trainer's global step; the totals at the end are the summary."""
        if not state.is_world_process_zero or not logs:
            return
        values = numbers(logs)
        totals = {name: values.pop(name) for name in list(values) if name.startswith("train_") or name == "total_flos"}
        self._loan.run.log({_named(name): value for name, value in values.items()}, state.global_step)
        self._loan.run.summary.update({_named(name): value for name, value in totals.items()})

    def on_train_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        """Log the model if that is wanted, and finish a run that was begun here."""
        if not state.is_world_process_zero:
            return
        model = named.get("model")
        if self._log_model and model is not None:
            log_model(self._loan.run, "model", model.save_pretrained, metadata={"step": state.global_step})
        self._training = False
        self._loan.finish()

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Finish again after an evaluation that came when training was over."""
        if state.is_world_process_zero and not self._training:
            self._loan.finish()


def _named(name: str) -> str:
    """Return `eval/loss` for `eval_loss`, `train/runtime` for `train_runtime`, and `train/loss` for `loss`."""
    for part in (*_PARTS, "train"):
        if name.startswith(f"{part}_"):
            return f"{part}/{name[len(part) + 1 :]}"
    return f"train/{name}"
