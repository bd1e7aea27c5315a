"""`Accelerator(log_with=UnitrackTracker("digits"))`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from unitrack import Run
from unitrack_frameworks._runs import Loan, numbers

__all__ = ["UnitrackTracker"]


class UnitrackTracker(GeneralTracker):
    """Logs what `accelerator.log` gives, and the configuration that `init_trackers` got. The main process logs."""

    name = "unitrack"
    requires_logging_directory = False
    main_process_only = True

    def __init__(self, project: str | None = None, *, run: Run | None = None, **init: Any) -> None:
        super().__init__()
        self._loan = Loan(run, **({**init, "project": project} if project is not None else init))

    @property
    def tracker(self) -> Run:
        """Return the run: `accelerator.get_tracker("unitrack", unwrap=True)`."""
        return self._loan.run

    @on_main_process
    def start(self) -> None:
        """Begin; older versions of Accelerate never ask for it."""
        _ = self._loan.run

    @on_main_process
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log hyperparameters."""
        self._loan.run.config.update(dict(values))

    @on_main_process
    def log(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Log numbers as metrics, texts as the summary."""
        metrics = numbers(values)
        if metrics:
            self._loan.run.log(metrics, step)
        texts = {name: value for name, value in values.items() if isinstance(value, str)}
        if texts:
            self._loan.run.summary.update(texts)

    @on_main_process
    def log_images(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Log images: a list of arrays for each name."""
        for name, images in values.items():
            for image in images:
                self._loan.run.log_image(name, image, step=step)

    @on_main_process
    def finish(self) -> None:
        """Finish a run that was begun here."""
        self._loan.finish()
