"""`unitrack audit`: which of a run's sources can be named again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unitrack.audit import Audit, Surroundings, audit_run, encode
from unitrack.cli import installed_version
from unitrack.cli._output import Console, console_for, note, store_option, styled, table
from unitrack.config import Settings, load_settings
from unitrack.errors import RegistryError, RunNotFoundError, UsageError
from unitrack.files import write_atomic
from unitrack.reader import RunView, Store, open_store
from unitrack.registry import open_registry
from unitrack.report import audit_html, audit_markdown, audit_terminal
from unitrack.report.terminal import Grid

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["command"]

_FORMATS: dict[str, Callable[[Audit], str]] = {
    "terminal": audit_terminal.render,
    "markdown": audit_markdown.render,
    "html": audit_html.render,
    "json": lambda audit: encode(audit).decode(),
}


@click.command(name="audit")
@click.argument("run")
@click.option(
    "--format",
    "name",
    type=click.Choice(list(_FORMATS)),
    default="terminal",
    show_default=True,
    help="How to write it.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
@click.option("--model", metavar="NAME", help="Compare with its production version; [gate].model unless given.")
@click.option("--check", is_flag=True, help="End with 1 if anything is missing.")
@store_option
def command(
    *, run: str, name: str, output: Path | None, model: str | None, check: bool, directory: Path | None
) -> None:
    """Check which of a run's sources can be named again.

    RUN is an id or its beginning. Data, features, training and deployment are gone through item by item, each with
    evidence, or with the line of code or configuration that would satisfy it; `[gate].require` takes the same names.
    Owners note the steps of CRISP-DM in [audit.notes]. Ends with 0 unless `--check` is given.
    """
    settings = load_settings()
    store = open_store(directory or settings.store)
    view = store.run(store.resolve(run))
    audit = audit_run(view, _surroundings(view, store, settings, model), version=installed_version())
    if output is not None:
        _write(output, _FORMATS[name](audit))
        note(f"audit: {output}")
    elif name == "terminal":
        _show(console_for(sys.stdout), audit)
    else:
        click.echo(_FORMATS[name](audit), nl=False)
    if check and audit.missing:
        click.get_current_context().exit(1)


def _surroundings(view: RunView, store: Store, settings: Settings, model: str | None) -> Surroundings:
    rows = store.rows()
    others = [row.id for row in rows if row.project == view.project and row.id != view.id]
    rules = settings.gate.metrics if settings.gate else ()
    return Surroundings(
        others=[store.run(run, salvage=True) for run in others],
        children=[store.run(row.id, salvage=True) for row in rows if row.parent == view.id],
        production=_production(store, settings, model or (settings.gate.model if settings.gate else None)),
        wants_predictions=any(rule.examples for rule in rules),
        notes={str(step): words for step, words in settings.audit.notes.items()} if settings.audit else {},
    )


def _production(store: Store, settings: Settings, model: str | None) -> RunView | None:
    """Return the run of the version in production, if there is one."""
    if model is None:
        return None
    try:
        version = open_registry(settings).get(f"{model}@production")
    except RegistryError:
        return None
    try:
        return store.run(version.run, salvage=True)
    except RunNotFoundError:
        note(
            f"unitrack: warning: {version.reference} is in production, and its run {version.run} is not in {store.root}"
        )
        return None


def _show(console: Console, audit: Audit) -> None:
    for block in audit_terminal.blocks(audit):
        if isinstance(block, Grid):
            rows = [[styled(cell, style) for cell in row] for row, style in zip(block.rows, block.styles, strict=True)]
            console.print(table(block.columns, rows))
        else:
            console.print(block.text, style=block.style)


def _write(output: Path, text: str) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(output, text.encode())
    except OSError as error:
        raise UsageError(f"--output {output}: can't be written: {error.strerror}") from error
