"""`unitrack models`: which versions there are, which one is in production, and who decided it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from unitrack.cli._mirroring import sync
from unitrack.cli._output import Console, emit, json_option, note, store_option, styled, table
from unitrack.config import load_settings
from unitrack.errors import RegistryError, UsageError
from unitrack.journal.layout import create_store
from unitrack.registry import STAGES, Change, ModelVersion, Registry, Stage, open_registry, parse_reference

if TYPE_CHECKING:
    from unitrack.config import Settings
    from unitrack.reader import RunView

__all__ = ["command", "register_run"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STYLES = {"production": "green", "staging": "yellow", "retired": "dim"}


@click.group(name="models")
def command() -> None:
    """List, register and promote models.

    A version is named by NAME (the latest), NAME@ALIAS or NAME:3. The registry is a folder of JSON files in the
    store, made to be committed to git, unless the setting `registry` names another.
    """


def _reason_option(function: _Command) -> _Command:
    return click.option("--reason", required=True, help="Why; the history keeps it.")(function)


def _by_option(function: _Command) -> _Command:
    return click.option("--by", help="Who decided it; git's user.name unless given.")(function)


@command.command(name="list")
@store_option
@json_option
def list_models(*, directory: Path | None, as_json: bool) -> None:
    """List models with their latest and their production version."""
    registry = _registry(directory)
    found, damaged = _overviews(registry)

    def render(console: Console) -> None:
        if not found:
            console.print(f"no models in {registry.where}: `unitrack models register NAME --run RUN` adds one")
            return
        columns = ("model", "latest", "production", "staging", "registered", "aliases")
        console.print(table(columns, (_overview_row(row, console) for row in found)))

    emit(found, as_json=as_json, render=render)
    for error in damaged:
        note(f"unitrack: error: {error}")
    if damaged:
        click.get_current_context().exit(RegistryError.exit_code)


@command.command()
@click.argument("reference", metavar="NAME")
@store_option
@json_option
def show(*, reference: str, directory: Path | None, as_json: bool) -> None:
    """Show a model's versions, or with NAME@ALIAS or NAME:3 one version in full."""
    registry = _registry(directory)
    parsed = parse_reference(reference)
    if parsed.alias is None and parsed.version is None:
        versions = registry.versions(parsed.name)
        emit(versions, as_json=as_json, render=lambda console: _render_versions(console, versions))
    else:
        version = registry.get(reference)
        emit(version, as_json=as_json, render=lambda console: _render_version(console, version))


@command.command()
@click.argument("name")
@click.option("--run", "run_id", required=True, metavar="RUN", help="The run that made the model.")
@click.option("--artifact", help="Name of the run's artifact; its last model unless given.")
@click.option("--commit", help="The code's commit; what the run captured unless given.")
@click.option("--description", default="", help="What people should know of this version.")
@_by_option
@store_option
def register(
    *,
    name: str,
    run_id: str,
    artifact: str | None,
    commit: str | None,
    description: str,
    by: str | None,
    directory: Path | None,
) -> None:
    """Register the model that a run made as the next version of NAME.

    Digest, commit and summary metrics are taken from the run.
    """
    settings = _settings(directory)
    version = register_run(
        open_registry(settings), settings.store, name, run_id,
        artifact=artifact, commit=commit, description=description, by=by,
    )  # fmt: skip
    click.echo(version.reference)


@command.command()
@click.argument("name")
@click.argument("alias_name", metavar="ALIAS")
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option("--delete", is_flag=True, help="Take the alias away instead.")
@_reason_option
@_by_option
@store_option
def alias(
    *,
    name: str,
    alias_name: str,
    version: int | None,
    delete: bool,
    reason: str,
    by: str | None,
    directory: Path | None,
) -> None:
    """Make ALIAS name VERSION of a model."""
    registry = _registry(directory)
    if delete == (version is not None):
        raise UsageError("give a VERSION for the alias, or --delete to take it away")
    if version is None:
        registry.delete_alias(name, alias_name, reason=reason, by=by)
        click.echo(f"{name} has no alias {alias_name} any more")
    else:
        click.echo(
            f"{name}@{alias_name} is {registry.set_alias(name, alias_name, version, reason=reason, by=by).reference}"
        )


@command.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@click.argument("stage_name", metavar="STAGE", type=click.Choice(STAGES))
@_reason_option
@click.option("--force", is_flag=True, help="Overrule the order of the stages; the history shows it.")
@_by_option
@store_option
def stage(
    *, name: str, version: int, stage_name: Stage, reason: str, force: bool, by: str | None, directory: Path | None
) -> None:
    """Move VERSION to a STAGE: experimental, staging, production or retired.

    \b
    from          to
    (registered)  experimental, staging
    experimental  staging, retired
    staging       experimental, production, retired
    production    retired
    retired       staging

    One version is in production: the one before it is retired. `rollback` puts it back.
    """  # noqa: D301 - click wants the backspace itself
    moved = _registry(directory).set_stage(name, version, stage_name, reason=reason, by=by, force=force)
    click.echo(f"{moved.reference} is in {moved.stage}")


@command.command()
@click.argument("name")
@_reason_option
@_by_option
@store_option
def rollback(*, name: str, reason: str, by: str | None, directory: Path | None) -> None:
    """Put the previous production version back and retire the present one."""
    restored = _registry(directory).rollback(name, reason=reason, by=by)
    click.echo(f"{restored.reference} is in production again")


@command.command()
@click.argument("name")
@store_option
@json_option
def history(*, name: str, directory: Path | None, as_json: bool) -> None:
    """Show everything that was done to a model, oldest first."""
    entries = _registry(directory).history(name)

    def render(console: Console) -> None:
        rows = (_history_row(entry, console) for entry in entries)
        console.print(table(("time", "by", "action", "version", "from", "to", "reason"), rows))

    emit(entries, as_json=as_json, render=render)


command.add_command(sync)


def register_run(
    registry: Registry,
    store: Path,
    name: str,
    run_id: str,
    *,
    artifact: str | None = None,
    commit: str | None = None,
    description: str = "",
    by: str | None = None,
) -> ModelVersion:
    """Register a run's model as the next version of `name`, with what the run tells of it."""
    from unitrack.reader import get_run

    view = get_run(run_id, dir=store)
    if view.status != "finished":
        note(f"unitrack: warning: run {view.id} is {view.status}, not finished")
    found = _model_artifact(view, artifact)
    create_store(store)
    return registry.register(
        name,
        run=view.id,
        artifact=None if found is None else found.name,
        digest=None if found is None else found.digest,
        commit=commit or view.captures.get("git", {}).get("commit") or _trained_commit(store, view.id),
        metrics=_numbers(view.summary),
        description=description,
        by=by,
    )


def _trained_commit(store: Path, run: str) -> str | None:
    """Return the commit a job's run was trained from: a container has no git to ask."""
    from unitrack.rerun.job import successes

    return next((one.commit for one in successes(store) if one.run == run), None)


def _settings(directory: Path | None) -> Settings:
    return load_settings(overrides={"dir": directory})


def _registry(directory: Path | None) -> Registry:
    return open_registry(_settings(directory))


def _overviews(registry: Registry) -> tuple[list[dict[str, Any]], list[RegistryError]]:
    """Return a row for each model that can be read, and what is wrong with the others."""
    found: list[dict[str, Any]] = []
    damaged: list[RegistryError] = []
    for name in registry.models():
        try:
            found.append(_overview(name, registry.versions(name)))
        except RegistryError as error:
            damaged.append(error)
    return found, damaged


def _overview(name: str, versions: tuple[ModelVersion, ...]) -> dict[str, Any]:
    stages = {version.stage: version.version for version in versions}
    return {
        "name": name,
        "versions": len(versions),
        "latest": versions[-1].version if versions else None,
        "production": stages.get("production"),
        "staging": stages.get("staging"),
        "registered": versions[-1].time if versions else None,
        "aliases": {alias: version.version for version in versions for alias in version.aliases if alias != "latest"},
    }


def _overview_row(row: dict[str, Any], console: Console) -> tuple[object, ...]:
    aliases = ", ".join(f"{alias}:{version}" for alias, version in sorted(row["aliases"].items()))
    when = None if row["registered"] is None else console.when(row["registered"].timestamp())
    return row["name"], row["latest"], styled(row["production"], "green"), row["staging"], when, aliases


def _render_versions(console: Console, versions: tuple[ModelVersion, ...]) -> None:
    columns = ("version", "stage", "aliases", "run", "commit", "registered", "by", "description")
    console.print(table(columns, (_version_row(version, console) for version in reversed(versions))))


def _version_row(version: ModelVersion, console: Console) -> tuple[object, ...]:
    return (
        version.version,
        styled(version.stage, _STYLES.get(version.stage or "", "")),
        ", ".join(version.aliases),
        version.run,
        version.commit and version.commit[:10],
        console.when(version.time.timestamp()),
        version.by,
        version.description.partition("\n")[0],
    )


def _render_version(console: Console, version: ModelVersion) -> None:
    facts = {
        "version": version.reference,
        "stage": version.stage,
        "aliases": ", ".join(version.aliases),
        "run": version.run,
        "artifact": version.artifact,
        "digest": version.digest,
        "commit": version.commit,
        "registered": console.when(version.time.timestamp()),
        "by": version.by,
        "description": version.description,
    }
    rows = [*facts.items(), *version.metrics.items()]
    console.print(table(("field", "value"), rows))


def _history_row(entry: Change, console: Console) -> tuple[object, ...]:
    action = f"{entry.action} {entry.alias}" if entry.alias else entry.action
    return (
        console.when(entry.time.timestamp()),
        entry.by,
        f"{action} (forced)" if entry.forced else action,
        entry.version,
        entry.before,
        entry.after,
        entry.reason,
    )


def _model_artifact(view: RunView, name: str | None) -> Any:
    """Return the run's artifact of that name, or its last model, or None if it logged none."""
    logged = [artifact for artifact in view.artifacts if artifact.use == "output"]
    wanted = [a for a in logged if (a.kind == "model" if name is None else a.name == name)]
    if wanted:
        return wanted[-1]
    if name is not None:
        known = ", ".join(sorted({artifact.name for artifact in logged})) or "none"
        raise UsageError(f"run {view.id} has logged no artifact {name!r}; it has {known}")
    note(f"unitrack: warning: run {view.id} has logged no model: the version has no artifact and can't be used")
    return None


def _numbers(summary: dict[str, Any]) -> dict[str, float]:
    """Return the summary values that are numbers; the rest stays with the run."""
    return {
        name: value
        for name, value in summary.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
