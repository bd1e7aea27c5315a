"""`unitrack gate`: judge a candidate commit against the production model's."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click

from unitrack.cli import installed_version
from unitrack.cli._output import Console, emit, json_option, note, styled, table
from unitrack.cli._training import TrainingProgress, make_rerunner, stopped_in_order, warn_of
from unitrack.config import GateSettings, Settings, load_settings
from unitrack.errors import ConfigError, EvidenceError, UsageError
from unitrack.files import write_atomic
from unitrack.gate.engine import Contender, Plan, gate_key, judge, train
from unitrack.gate.policy import Policy, in_words, make_policy
from unitrack.gate.verdict import Verdict, exit_code, verdict_path, write_verdict
from unitrack.journal import layout
from unitrack.plugins import load_plugins
from unitrack.reader import get_run
from unitrack.registry import Registry
from unitrack.report import markdown
from unitrack.report.terminal import Grid, blocks
from unitrack.rerun.git import Repository, find_repository
from unitrack.rerun.runner import Rerunner, choose_seeds

__all__ = ["command"]


@click.command(name="gate")
@click.option("--candidate", default="HEAD", show_default=True, metavar="COMMIT", help="What asks to be let in.")
@click.option("--baseline", metavar="MODEL@ALIAS|COMMIT", help="What it must hold up to; [gate].model@production.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="How many seeds; all of [train] unless given.")
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Take [gate] from this file.")
@click.option("--policy-ref", metavar="REF", help="Take [gate] as REF has it, such as the base branch.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the report as Markdown here, too.")
@click.option("--fresh", is_flag=True, help="Train again even if an equal job succeeded before.")
@click.option("--explain", is_flag=True, help="Say the policy in words and end.")
@json_option
def command(
    *,
    candidate: str,
    baseline: str | None,
    seeds: int | None,
    policy_file: Path | None,
    policy_ref: str | None,
    report: Path | None,
    fresh: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Judge a candidate against the baseline.

    Both commits are trained with the same seeds, in turns, and each metric of [gate] is tested seed
    by seed. Ends with 0 for pass, 1 fail, 3 undecided, 4 if there is no evidence to judge.
    """
    settings = load_settings()
    policy, source = _policy(settings, policy_file, policy_ref)
    if explain:
        emit(policy, as_json=as_json, render=lambda console: console.print("\n".join(in_words(policy))))
        return
    repository = find_repository(settings.root)
    rerunner = make_rerunner(repository, settings, fresh=fresh)
    plan = Plan(
        policy=policy,
        policy_source=source,
        candidate=Contender(commit=repository.commit(candidate), reference=candidate),
        baseline=_baseline(baseline, policy, repository, settings),
        seeds=_seeds(settings, seeds),
        arguments=_policy_arguments(repository, policy_file, policy_ref),
    )
    verdict = _judge(plan, rerunner, repository, settings)
    _finish(verdict, settings, report=report, as_json=as_json)


def _policy(settings: Settings, file: Path | None, ref: str | None) -> tuple[Policy, str]:
    """Return the policy and where it is from: the settings, another file, or a commit."""
    if file is not None and ref is not None:
        raise UsageError("--policy and --policy-ref both say where the policy is: give one of them")
    own = settings.file or settings.root / "unitrack.toml"
    if file is not None:
        gate, source = _gate_of(_read(file), "unitrack.toml", str(file)), str(file)
    elif ref is not None:
        repository = find_repository(settings.root)
        path = Path(os.path.relpath(own.resolve(), repository.root.resolve())).as_posix()
        source = f"{path} at {repository.commit(ref)[:12]} ({ref})"
        gate = _gate_of(repository.text(ref, path), own.name, source)
    else:
        gate, source = settings.gate, own.name
    if gate is None:
        raise ConfigError("there is no section [gate]: `unitrack init` shows one", file=source, key="gate")
    return make_policy(gate, source=source), source


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--policy {file}: can't be read: {error}") from error


def _gate_of(text: str, name: str, source: str) -> GateSettings | None:
    """Read [gate] of a settings file's text; errors name `source`, not where it was put to be read."""
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, name).write_text(text, encoding="utf-8")
        try:
            return load_settings(scratch, env={}).gate
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(Path(scratch, name)), source), key=error.key) from error


def _policy_arguments(repository: Repository, file: Path | None, ref: str | None) -> tuple[str, ...]:
    if ref is not None:
        return "--policy-ref", repository.commit(ref)
    return () if file is None else ("--policy", str(file))


def _seeds(settings: Settings, count: int | None) -> tuple[int, ...]:
    if settings.train is None:
        raise ConfigError("there is no section [train]: the gate trains both commits", key="train")
    return choose_seeds(settings.train, count or (settings.gate.seeds if settings.gate else None))


def _baseline(reference: str | None, policy: Policy, repository: Repository, settings: Settings) -> Contender:
    if reference is None and policy.model is None:
        raise ConfigError("[gate] has no model: name one, or a commit with --baseline", key="gate.model")
    reference = reference or f"{policy.model}@production"
    if not _names_a_model(reference):
        return Contender(commit=repository.commit(reference), reference=reference)
    version = Registry(layout.registry_dir(settings.store)).find(reference)
    if version is None:
        model = reference.partition("@")[0].partition(":")[0]
        raise EvidenceError(
            f"there is no baseline: the registry has no {reference}. Register a run's model with "
            f"`unitrack models register {model} --run RUN`, then `unitrack models alias {model} production 1 "
            "--reason WHY`; or name a commit with --baseline"
        )
    if version.commit is None:
        raise EvidenceError(f"{version.reference} was registered without a commit: name one with --baseline")
    try:
        commit = repository.commit(version.commit)
    except UsageError as error:
        raise EvidenceError(f"the commit of {version.reference} is not here: {error}") from error
    return Contender(commit=commit, reference=reference, model=version.reference)


def _names_a_model(reference: str) -> bool:
    return ("@" in reference and "@{" not in reference and reference != "@") or ":" in reference


def _judge(plan: Plan, rerunner: Rerunner, repository: Repository, settings: Settings) -> Verdict:
    with stopped_in_order():
        with TrainingProgress(rerunner, ("candidate", "baseline"), plan.seeds) as progress:
            results = train(plan, rerunner, progress)
        return judge(
            plan,
            results,
            open_run=lambda run: get_run(run, dir=settings.store),
            history=lambda old, new: (repository.subjects(old, new), repository.changed_files(old, new)),
            warnings=rerunner.warnings,
            created=time.time(),
            version=installed_version(),
        )


def _finish(verdict: Verdict, settings: Settings, *, report: Path | None, as_json: bool) -> None:
    """Write the verdict and its report, show it, and exit with its code."""
    text = markdown.render(verdict)
    path = verdict_path(settings.store, gate_key(verdict))
    beside = write_verdict(path, verdict, text)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(report, text.encode())
    emit(verdict, as_json=as_json, render=lambda console: _show(console, verdict))
    if as_json:
        warn_of(verdict.warnings)
    note(f"verdict: {path}\nreport: {report or beside}")
    load_plugins(settings).notify("unitrack_verdict_reached", verdict=path, outcome=verdict.outcome)
    click.get_current_context().exit(exit_code(verdict))


def _show(console: Console, verdict: Verdict) -> None:
    for block in blocks(verdict):
        if isinstance(block, Grid):
            rows = ((*row[:-1], styled(row[-1], style)) for row, style in zip(block.rows, block.styles, strict=True))
            console.print(table(block.columns, rows, right=block.right))
        else:
            console.print(block.text, style=block.style)
