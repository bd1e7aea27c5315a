"""`unitrack models sync`: one registry made equal to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unitrack.cli._output import note, store_option
from unitrack.config import load_settings
from unitrack.errors import RegistryError, UsageError
from unitrack.journal.layout import create_store
from unitrack.registry import open_registry
from unitrack.registry.mirror import Behind, behind, mirror
from unitrack.registry.opening import LOCAL

if TYPE_CHECKING:
    from unitrack.registry import Registry

__all__ = ["sync"]


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--check", is_flag=True, help="Change nothing; end with 1 if TO lacks something.")
@store_option
def sync(*, source: str, target: str, names: tuple[str, ...], check: bool, directory: Path | None) -> None:
    """Make registry TO hold the models of registry FROM, all of them or those named.

    Versions, aliases, stages and history become the same, with who and why. A mirror that was interrupted goes on
    where it was. One that went its own way is refused, and nothing of it is changed. Registries are `local` and
    those of plugins, such as `mlflow`.
    """
    settings = load_settings(overrides={"dir": directory})
    if source == target:
        raise UsageError(f"FROM and TO are both {source}: name two registries")
    theirs, ours = open_registry(settings, source), open_registry(settings, target)
    models = _chosen(theirs, names)
    if target == LOCAL and not check:
        create_store(settings.store)
    lacking = [behind(theirs, ours, name) for name in models]
    if check:
        _tell(lacking)
        return
    with _showing(sum(one.changes for one in lacking)) as advance:
        for one in lacking:
            if one.changes or one.new:
                mirror(theirs, ours, one.model, progress=advance)
    click.echo(f"{ours.where} holds {len(lacking)} of {len(lacking)} models as they are in {theirs.where}")


def _chosen(source: Registry, names: Sequence[str]) -> Sequence[str]:
    known = source.models()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RegistryError(f"{source.where} has no model {unknown[0]!r}; it has {', '.join(known[:20]) or 'none'}")
    return names or known


def _tell(lacking: Sequence[Behind]) -> None:
    for one in lacking:
        click.echo(
            f"{one.model}: {one.changes} of {one.total} changes are missing" if one.changes else f"{one.model}: equal"
        )
    if any(one.changes for one in lacking):
        click.get_current_context().exit(1)


@contextmanager
def _showing(total: int) -> Iterator[Callable[[int], None]]:
    """Yield what takes the number of changes just made: a bar on a terminal, a line every thousand elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    made = 0
    if not console.is_terminal:

        def tell(count: int) -> None:
            nonlocal made
            if (made + count) // 1000 > made // 1000:
                note(f"{made + count} of {total} changes")
            made += count

        yield tell
        return
    columns = (TextColumn("changes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("changes", total=total)
        yield lambda count: bars.advance(task, count)
