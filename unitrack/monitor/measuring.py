"""Run the command of `[check]` over a registered model, as the gate runs its trusted evaluation.

The command runs in a clean checkout of a commit, through the executor of `[train]`, and logs into a run of its own. It
finds the model at `UNITRACK_EVALUATE_MODEL`, the fresh data at `UNITRACK_EVALUATE_DATA` if the settings name them, and
in `UNITRACK_EVALUATE_RUN` the id of the run that made the model: one script may serve `[evaluate]` and `[check]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.config import TrainSettings
from unitrack.errors import EvidenceError
from unitrack.gate.evaluate import FOLDER, Gifts
from unitrack.journal import layout
from unitrack.objects import ObjectStore
from unitrack.rerun.runner import Rerunner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from unitrack.config import CheckSettings, Settings
    from unitrack.reader import RunView
    from unitrack.registry.using import Obtained
    from unitrack.rerun.executors import Executor
    from unitrack.rerun.git import Repository

__all__ = ["measure"]


def measure(
    model: Obtained,
    check: CheckSettings,
    *,
    commit: str,
    parent: str,
    repository: Repository,
    settings: Settings,
    executor: Executor,
    open_run: Callable[[str], RunView],
    environ: Mapping[str, str],
) -> RunView:
    """Return the run of the command, a child of the run `parent`. Raises EvidenceError if it can't be had.

    It is run each time: what it reads from elsewhere may have changed.
    """
    gifts = Gifts(executor, ObjectStore(layout.objects_dir(settings.store)))
    data = [] if check.fresh is None else [check.fresh]
    train = TrainSettings(command=check.command, inputs=(*check.inputs, *data), timeout=check.timeout, env=check.env)
    rerunner = Rerunner(
        repository=repository,
        settings=msgspec.structs.replace(settings, train=train),
        executor=gifts,
        open_run=open_run,
        environ=environ,
        fresh=True,
    )
    given = [
        ("UNITRACK_EVALUATE_MODEL", f"{FOLDER}/model"),
        ("UNITRACK_EVALUATE_RUN", model.version.run),
        ("UNITRACK_PARENT", parent),
        ("UNITRACK_TAGS", "monitoring"),
        *(("UNITRACK_EVALUATE_DATA", path) for path in data),
    ]
    job = rerunner.job(commit, 0)
    job = msgspec.structs.replace(
        job,
        environment=tuple(sorted((*job.environment, *given))),
        inputs=(*job.inputs, ("model#", model.digest)),
    )
    gifts.for_job[job.key] = {f"{FOLDER}/model": model}
    result = rerunner.run(job)
    if not result.ok:
        raise EvidenceError(
            f"nothing was checked: [check].command at {commit[:12]} gave no evidence: {result.reason}; its output is "
            f"{result.log} in the store"
        )
    return open_run(result.run)
