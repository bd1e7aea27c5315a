"""Let others than the candidate measure it: a command of the base's own scores what training left behind.

The command runs in a clean checkout of the base, once a training, and logs into a run of its own. It finds the
model at `UNITRACK_EVALUATE_MODEL` and the logged predictions at `UNITRACK_EVALUATE_PREDICTIONS`, paths relative to its
folder, and the id of the training's run in `UNITRACK_EVALUATE_RUN`. Its metrics count, the training's don't.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import msgspec

from unitrack.config import TrainSettings
from unitrack.errors import ConfigError, EvidenceError, UnitrackError
from unitrack.journal import layout
from unitrack.media import predictions
from unitrack.objects import ObjectStore
from unitrack.objects.checkout import restore_file, restore_tree
from unitrack.rerun.executors import Executor, Exit, Place
from unitrack.rerun.runner import Rerunner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from unitrack.config import EvaluateSettings, Settings
    from unitrack.events import Artifact
    from unitrack.reader import RunView
    from unitrack.rerun.git import Repository
    from unitrack.rerun.job import Job

__all__ = ["FOLDER", "Evaluator", "Gift", "Gifts"]

FOLDER = ".unitrack-evaluate"
"""Where in a checkout the command finds what it measures."""


class Evaluator:
    """Runs `[evaluate].command` of one commit over the runs of trainings."""

    def __init__(
        self,
        *,
        commit: str,
        evaluate: EvaluateSettings,
        repository: Repository,
        settings: Settings,
        executor: Executor,
        open_run: Callable[[str], RunView],
        environ: Mapping[str, str],
        fresh: bool = False,
    ) -> None:
        """Pin the command's inputs. Raises ConfigError without a command or without anything to give it."""
        if not evaluate.command or (evaluate.model is None and evaluate.predictions is None):
            raise ConfigError(
                "[evaluate] says not what to run on what: give command, and model or predictions", key="evaluate"
            )
        self.commit = commit
        self._evaluate = evaluate
        self._open_run = open_run
        self._gifts = Gifts(executor, ObjectStore(layout.objects_dir(settings.store)))
        train = TrainSettings(
            command=evaluate.command, inputs=evaluate.inputs, timeout=evaluate.timeout, env=evaluate.env
        )
        self._rerunner = Rerunner(
            repository=repository,
            settings=msgspec.structs.replace(settings, train=train),
            executor=self._gifts,
            open_run=open_run,
            environ=environ,
            fresh=fresh,
        )

    @property
    def identity(self) -> str:
        """Return a digest of all that a measurement depends on besides what is measured."""
        job = msgspec.structs.replace(self._rerunner.job(self.commit, 0), commit="")
        words = [job.key, self._evaluate.model or "", self._evaluate.predictions or ""]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()

    def measure(self, run: str, seed: int) -> RunView:
        """Return the run of the command over a training's run. Raises EvidenceError if it can't be had."""
        view = self._open_run(run)
        gifts, given = {}, [("UNITRACK_EVALUATE_RUN", run)]
        for variable, name, kind in (
            ("UNITRACK_EVALUATE_MODEL", self._evaluate.model, "model"),
            ("UNITRACK_EVALUATE_PREDICTIONS", self._evaluate.predictions, predictions.KIND),
        ):
            if name is not None:
                gifts[f"{FOLDER}/{kind}"] = _output(view, name, kind)
                given.append((variable, f"{FOLDER}/{kind}"))
        digests = [(f"{name}#", str(gift.digest)) for name, gift in gifts.items()]
        job = self._rerunner.job(self.commit, seed)
        job = msgspec.structs.replace(
            job, environment=tuple(sorted((*job.environment, *given))), inputs=(*job.inputs, *digests)
        )
        self._gifts.for_job[job.key] = gifts
        result = self._rerunner.run(job)
        if not result.ok:
            raise EvidenceError(
                f"nothing was judged: [evaluate] of {self.commit[:12]} on run {run} gave no evidence: "
                f"{result.reason}; its output is {result.log} in the store"
            )
        return self._open_run(result.run)


def _output(view: RunView, name: str, kind: str) -> Artifact:
    wanted = predictions.artifact_name(name) if kind == predictions.KIND else name
    found = [each for each in view.artifacts if each.name == wanted and each.use == "output" and each.digest]
    if not found:
        raise EvidenceError(f"nothing was judged: run {view.id} logged no {kind} {name!r}, which [evaluate] measures")
    return found[-1]


class Gift(Protocol):
    """Bytes that the store holds: a file or a folder."""

    @property
    def digest(self) -> str | None: ...

    @property
    def tree(self) -> bool: ...


class Gifts:
    """An executor that lays what is measured into the checkout before the command starts."""

    def __init__(self, executor: Executor, objects: ObjectStore) -> None:
        self.name = executor.name
        self.for_job: dict[str, Mapping[str, Gift]] = {}
        self._executor = executor
        self._objects = objects

    def fingerprint(self) -> str:
        return self._executor.fingerprint()

    def run(self, job: Job, place: Place) -> Exit:
        try:
            for name, artifact in self.for_job[job.key].items():
                self._lay(artifact, place.folder / name)
        except (UnitrackError, OSError) as error:
            return Exit(code=None, seconds=0.0, problem=f"what it measures can't be had: {error}")
        return self._executor.run(job, place)

    def _lay(self, artifact: Gift, target: Path) -> None:
        if target.parent.is_symlink():  # a commit may hold a link of this name that leads elsewhere
            raise EvidenceError(f"{target.parent.name} is a link in the checkout")
        target.parent.mkdir(exist_ok=True)
        digest = str(artifact.digest)
        if artifact.tree:
            restore_tree(self._objects.manifest(digest), self._objects.get, target)
        else:
            restore_file(self._objects.get(digest), digest, target)
