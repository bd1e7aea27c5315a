"""`unitrack check`: watch the model in production on fresh data."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from unitrack.cli import installed_version
from unitrack.cli._alerts import tell
from unitrack.cli._check_data import Located, Missing, in_project, of_run, read, training_schema
from unitrack.cli._check_run import KIND, earlier_differences, keep, message_of
from unitrack.cli._output import Console, console_for, note, styled, table
from unitrack.cli._training import make_executor, stopped_in_order
from unitrack.cli._verdicts import past_verdicts
from unitrack.cli._watch import watched_over
from unitrack.config import CheckSettings, Settings, load_settings
from unitrack.errors import ConfigError, EvidenceError, UnitrackError, UsageError
from unitrack.files import write_atomic
from unitrack.gate.policy import make_policy
from unitrack.gate.statistics import require_scipy
from unitrack.gate.verdict import read_verdict
from unitrack.monitor import (
    Check,
    DataSide,
    compare_metrics,
    encode,
    exit_code,
    find_drift,
    outcome_of,
    schema_changes,
    summary_of,
)
from unitrack.monitor.measuring import measure
from unitrack.monitor.promotion import promoted_as
from unitrack.plugins import load_plugins
from unitrack.reader import get_run
from unitrack.registry import open_registry
from unitrack.registry.using import obtain
from unitrack.report import check_html, check_markdown, check_terminal
from unitrack.report.terminal import Grid
from unitrack.rerun.checkout import dirty_warning
from unitrack.rerun.git import find_repository
from unitrack.session import init

if TYPE_CHECKING:
    from collections.abc import Callable

    from unitrack.gate.verdict import Verdict
    from unitrack.monitor import FeatureDrift, MetricCheck, Sample, SchemaChange
    from unitrack.reader import RunView
    from unitrack.registry import ModelVersion
    from unitrack.run import Run

__all__ = ["command"]

_PATIENCE = 30.0  # seconds in which the trackers may take the monitoring run
_FORMATS: dict[str, Callable[[Check], str]] = {
    "terminal": check_terminal.render,
    "markdown": check_markdown.render,
    "html": check_html.render,
    "json": lambda check: encode(check).decode(),
}


@click.command(name="check")
@click.option("--model", metavar="NAME@ALIAS", help="The version to watch; [check].model unless given.")
@click.option("--fresh", metavar="FILE", help="The fresh data, relative to the settings; [check].fresh unless given.")
@click.option(
    "--format",
    "name",
    type=click.Choice(list(_FORMATS)),
    default="terminal",
    show_default=True,
    help="How to write it.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
def command(*, model: str | None, fresh: str | None, name: str, output: Path | None) -> None:
    """Watch the model in production on fresh data.

    [check].command measures it, in a clean checkout; its metrics are compared with those at promotion by the rules
    of [gate], and each feature of the fresh data with the data it was trained on. The result is a monitoring run, and
    what is worse or drifts is told to the notifiers. Ends with 0 if all is fine, 1 if a metric is worse or features
    drift, 3 if that is undecided, 4 if there is no evidence to judge.
    """
    settings = load_settings()
    require_scipy()
    check = _checked(settings, fresh)
    version = open_registry(settings).get(model or check.model or _production(settings))
    found = _run_check(settings, check, version)
    _show(found, name, output)
    if found.outcome == "fail":
        tell(settings, load_plugins(settings), message_of(found))
    click.get_current_context().exit(exit_code(found))


def _checked(settings: Settings, fresh: str | None) -> CheckSettings:
    """Return the section [check] with the fresh data of the command line. Raises ConfigError if it says too little."""
    found = settings.check
    if found is None:
        words = "there is no section [check]: say what measures the model on fresh data, and where these are"
        raise ConfigError(words, key="check")
    found = found if fresh is None else msgspec.structs.replace(found, fresh=fresh)
    if not found.command and found.fresh is None:
        raise ConfigError("[check] has neither a command nor fresh data: there is nothing to check", key="check")
    return found


def _production(settings: Settings) -> str:
    model = settings.gate.model if settings.gate else None
    if model is None:
        raise ConfigError(
            "[check] has no model, and [gate] has none: name one, such as digits@production", key="check.model"
        )
    return f"{model}@production"


def _run_check(settings: Settings, check: CheckSettings, version: ModelVersion) -> Check:
    """Measure, compare and test in a monitoring run, and return what came of it."""
    mode: Literal["offline"] | None = "offline" if settings.mode == "disabled" else None
    name = f"check of {version.reference}"
    with init(settings.project, name=name, tags=[KIND], mode=mode, dir=settings.store) as run:
        run.set_tags(kind=KIND, model=version.reference, trained_by=version.run)
        if check.command or version.digest is not None:
            run.use_model(version.reference)
        found = _Watch(settings, check, version, run).check()
        keep(run, found)
        run.finish(timeout=_PATIENCE)  # a scheduled job's machine is gone soon
    return found


class _Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of the data."""

    reference: DataSide | None = None
    fresh: DataSide | None = None
    changes: tuple[SchemaChange, ...] = ()
    features: tuple[FeatureDrift, ...] = ()


class _Watch:
    """One check of one version, in its monitoring run."""

    def __init__(self, settings: Settings, check: CheckSettings, version: ModelVersion, run: Run) -> None:
        self._settings, self._check, self._version, self._run = settings, check, version, run
        self._fresh = None if check.fresh is None else in_project(settings, check.fresh, "fresh")
        self._commit: str | None = None
        self._lost = False
        self._warnings: list[str] = []

    def check(self) -> Check:
        """Return the result. Raises EvidenceError if there is nothing to compare."""
        evaluation = self._measured() if self._check.command else None
        data = self._data(evaluation)
        promoted, metrics = self._metrics(evaluation, data)
        if not (metrics or data.features or data.changes):
            raise EvidenceError(f"nothing was checked: {'; '.join(self._warnings) or 'there is nothing to compare'}")
        return Check(
            outcome=outcome_of(data.changes, data.features, metrics, lost=self._lost),
            summary=summary_of(data.changes, data.features, metrics, lost=self._lost),
            created=time.time(),
            unitrack=installed_version(),
            project=self._settings.project,
            model=self._version.reference,
            digest=self._version.digest or "",
            trained_by=self._version.run,
            run=self._run.id,
            evaluation=None if evaluation is None else evaluation.id,
            commit=self._commit,
            promotion=promoted,
            reference=data.reference,
            fresh=data.fresh,
            level=self._check.level,
            changes=data.changes,
            features=data.features,
            metrics=metrics,
            warnings=tuple(self._warnings),
        )

    def _open(self, run: str) -> RunView:
        return get_run(run, dir=self._settings.store)

    # -- the model -----------------------------------------------------------------------------

    def _measured(self) -> RunView:
        settings = self._settings
        repository = find_repository(settings.root)
        self._commit = repository.commit("HEAD")
        dirty = dirty_warning(repository, settings.store)
        self._warnings += [dirty] if dirty else []
        click.get_current_context().with_resource(watched_over(settings))
        with stopped_in_order():
            return measure(
                obtain(open_registry(settings), self._version.reference, settings.store),
                self._check,
                commit=self._commit,
                parent=self._run.id,
                repository=repository,
                settings=settings,
                executor=make_executor(settings),
                open_run=self._open,
                environ=os.environ,
            )

    def _metrics(self, evaluation: RunView | None, data: _Compared) -> tuple[str, tuple[MetricCheck, ...]]:
        if evaluation is None:
            return "", ()
        gate = self._settings.gate
        if gate is None or not gate.metrics:
            self._warnings.append("[gate] has no metrics, so what the command measured is not judged")
            return "", ()
        policy = make_policy(gate, sources=self._settings.sources)
        promoted = promoted_as(self._version, policy, self._verdict(), self._open)
        earlier = earlier_differences(
            self._settings.store,
            project=self._settings.project,
            model=self._version.reference,
            data="" if data.fresh is None else data.fresh.digest or "",
            without=self._run.id,
        )
        return promoted.source, compare_metrics(policy, evaluation, promoted, earlier)

    def _verdict(self) -> Verdict | None:
        """Return the newest verdict about the version's commit that passed."""
        for past in past_verdicts(self._settings.store, model=self._version.name)[0]:
            if past.outcome == "pass" and past.candidate == self._version.commit:
                try:
                    return read_verdict(Path(past.path))
                except EvidenceError as error:
                    self._warnings.append(f"a verdict can't be used: {error}")
        return None

    # -- the data ------------------------------------------------------------------------------

    def _data(self, evaluation: RunView | None) -> _Compared:
        fresh = self._fresh or self._of_run(evaluation, "fresh", training=False)
        if fresh is None:
            return _Compared()
        trainer = self._trainer()
        ours, side = self._sample(fresh, "fresh")
        reference = self._reference(trainer)
        if reference is not None:
            theirs, before = self._sample(reference, "reference")
            changes = schema_changes(theirs.schema, ours.schema, ignore=self._check.ignore)
            features = find_drift(theirs, ours, self._check)
            return _Compared(reference=before, fresh=side, changes=changes, features=features)
        schema = training_schema(trainer)
        changes = () if schema is None else schema_changes(schema, ours.schema, ignore=self._check.ignore)
        return _Compared(fresh=side, changes=changes)

    def _trainer(self) -> RunView | None:
        try:
            return self._open(self._version.run)
        except UnitrackError:
            return None

    def _reference(self, trainer: RunView | None) -> Located | None:
        if self._check.reference is None:
            return self._of_run(trainer, "reference", training=True)
        found = in_project(self._settings, self._check.reference, "reference")
        known = {one.digest for one in trainer.datasets if one.digest} if trainer is not None else set()
        if known and found.digest not in known:
            self._warnings.append(
                f"{found.source} is none of the data that run {self._version.run} logged: was the model trained on it?"
            )
        return found

    def _of_run(self, view: RunView | None, what: str, *, training: bool) -> Located | None:
        if view is None:
            why = f"are not known: run {self._version.run} is not in this store" if training else "are not named"
            found: Located | Missing = Missing(why=why)
        else:
            found = of_run(view, self._settings.store, training=training)
        if isinstance(found, Located):
            return found
        self._lost = self._lost or found.lost
        self._warnings.append(f"the {what} data {found.why}; so drift of values is not tested: name them in [check]")
        return None

    def _sample(self, found: Located, split: str) -> tuple[Sample, DataSide]:
        """Read data, and record in the monitoring run that they were."""
        sample = read(found, self._check)
        columns = found.names if found.suffix == ".npy" else None  # other files name their columns
        self._run.log_dataset(found.path, name=found.source, split=split, digest=found.digest or None, columns=columns)
        side = DataSide(source=found.source, rows=sample.rows, total=sample.total, digest=found.digest or None)
        return sample, side


def _show(check: Check, name: str, output: Path | None) -> None:
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(output, _FORMATS[name](check).encode())
        except OSError as error:
            raise UsageError(f"--output {output}: can't be written: {error.strerror}") from error
        note(f"check: {output}")
    elif name == "terminal":
        _print(console_for(sys.stdout), check)
    else:
        click.echo(_FORMATS[name](check), nl=False)


def _print(console: Console, check: Check) -> None:
    for block in check_terminal.blocks(check):
        if isinstance(block, Grid):
            rows = ((*row[:-1], styled(row[-1], style)) for row, style in zip(block.rows, block.styles, strict=True))
            console.print(table(block.columns, rows, right=block.right))
        else:
            console.print(block.text, style=block.style)
