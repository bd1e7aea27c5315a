"""`unitrack import`: take the runs of a tracker, or of its files, into the store."""

from __future__ import annotations

from pathlib import Path

import click

from unitrack.cli._importing import options_of, reader_named, render_import, showing
from unitrack.cli._output import Console, emit, json_option, note, styled, table
from unitrack.config import load_settings
from unitrack.foreign import Reader
from unitrack.importing import Plan, import_runs, plan_import
from unitrack.plugins import Plugins, load_plugins

__all__ = ["command"]

_REMAINS = 4
_STYLES = {"import": "green", "skip": "dim", "replace": "yellow", "refuse": "red"}


@click.command()
@click.argument("name", required=False)
@click.argument("source", required=False)
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="An option of the reader, again for more.")
@click.option("--project", metavar="P", help="Put all runs into this project.")
@click.option("--id-prefix", default="", metavar="TEXT", help="Put this in front of every id, where ids are taken.")
@click.option("--patience", type=click.FloatRange(min=0), default=60.0, help="Seconds a source may fail. Default: 60.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="The store.")
@click.option("--dry-run", is_flag=True, help="Write nothing: say what would become of each run.")
@json_option
def command(
    *,
    name: str | None,
    source: str | None,
    options: tuple[str, ...],
    project: str | None,
    id_prefix: str,
    patience: float,
    directory: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take the runs of a tracker into the store: NAME is a reader, SOURCE its URI or folder.

    Each run appears whole or not at all, is counted and compared with what the source says there is. Runs that are
    there from an earlier import are skipped, so the command may be repeated, after a kill too. Without
    arguments it lists the readers.

    Exits with 0 if everything is there, 4 if a run failed or holds something else than the source says, 2 for wrong
    use.

    \b
    unitrack import mlflow sqlite:///mlflow.db -o experiment=digits
    """  # noqa: D301 - \b is click's mark for text not to be wrapped
    plugins = load_plugins()
    if name is None:
        _list_readers(plugins, as_json=as_json)
        return
    reader, given = reader_named(plugins, name), options_of(options)
    if source is None:
        raise click.UsageError(f"where are the runs? unitrack import {name} SOURCE")
    store = load_settings(overrides={"dir": directory}).store
    if dry_run:
        plans = list(plan_import(reader, source, store, given, project=project, id_prefix=id_prefix))
        emit(plans, as_json=as_json, render=lambda console: _render_plans(plans, console))
        return
    with showing(as_json=as_json) as progress:
        report = import_runs(
            reader, source, store, given, progress, project=project, id_prefix=id_prefix, patience=patience
        )
    emit(report, as_json=as_json, render=lambda console: render_import(report, console))
    if not report.complete:
        click.get_current_context().exit(_REMAINS)


def _list_readers(plugins: Plugins, *, as_json: bool) -> None:
    readers: dict[str, Reader] = plugins.named("readers")
    rows = [(name, (type(reader).__doc__ or "").strip().split("\n")[0]) for name, reader in sorted(readers.items())]

    def render(console: Console) -> None:
        console.print(table(["reader", "what it reads"], rows))
        console.print("unitrack import READER SOURCE imports; the docs of its plugin list its options")

    emit([{"name": name, "reads": reads} for name, reads in rows], as_json=as_json, render=render)
    for problem in plugins.problems:
        note(str(problem))


def _render_plans(plans: list[Plan], console: Console) -> None:
    columns = ["run", "action", "project", "name", "status", "started", "params", "points", "artifacts", "media"]
    rows = [
        (each.run, styled(each.action, _STYLES[each.action]), each.info.project, each.info.name,
         each.info.status or "running", console.when(each.info.started), each.expected.params, each.expected.points,
         each.expected.artifacts, each.expected.media)
        for each in plans
    ]  # fmt: skip
    if rows:
        console.print(table(columns, rows, right=columns[6:]))
    for each in plans:
        if each.reason:
            console.print(f"{each.run}: {each.reason}", style="red")
    console.print(f"{len(plans):,} runs; nothing was written")
