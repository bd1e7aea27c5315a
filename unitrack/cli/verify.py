"""`unitrack verify`: check what was logged against its seals and digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from unitrack.cli._output import Console, emit, json_option, store_option, styled, table
from unitrack.errors import UnitrackError, UsageError
from unitrack.events import Event, Unknown
from unitrack.journal import layout
from unitrack.journal.codec import encode_line
from unitrack.journal.reader import read_journal
from unitrack.journal.seal import verify_run
from unitrack.objects import ObjectStore
from unitrack.reader import RunView, Store, open_store

__all__ = ["command"]

_CORRUPT = 4


class _Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is worth. `torn` bytes of uncommitted last lines are no fault."""

    run: str
    ok: bool
    status: str
    sealed: bool
    journals: int
    events: int
    objects: int
    torn: int
    problems: tuple[str, ...]
    readable: dict[str, int] | None = None
    """With --salvage: events that can be read, by type."""


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option("--salvage", is_flag=True, help="Also count what can be read past damage.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.jsonl",
    help="Write the readable events of the run there, journal after journal.",
)
@store_option
@json_option
def command(
    *, runs: tuple[str, ...], salvage: bool, output: Path | None, directory: Path | None, as_json: bool
) -> None:
    """Check every line, order and seal of journals, and the digests of what runs refer to.

    Checks the named runs, or all. Exits with 0 if all is whole, with 4 if anything is damaged.
    A run that was killed is whole as far as it goes.
    """
    store = open_store(directory)
    ids = list(dict.fromkeys(store.resolve(run) for run in runs)) or store.ids()
    if output is not None and len(ids) != 1:
        raise UsageError("--output takes the events of one run: name it")
    objects = _Objects(ObjectStore(layout.objects_dir(store.root)))
    checked = [_check(store, run_id, objects, salvage=salvage) for run_id in ids]
    if output is not None:
        _write_readable(layout.run_dir(store.root, ids[0]), output)
    emit(checked, as_json=as_json, render=lambda console: _render(checked, console))
    if not all(each.ok for each in checked):
        click.get_current_context().exit(_CORRUPT)


def _check(store: Store, run_id: str, objects: _Objects, *, salvage: bool) -> _Checked:
    view = store.run(run_id, salvage=True)
    report = verify_run(view.path)
    referred = {digest: what for digest, what, tree in _objects_of(view) for digest in objects.parts(digest, tree=tree)}
    problems = (
        *(f"{journal.path.name}: {problem}" for journal in report.journals for problem in journal.problems),
        *(f"{what}: {problem}" for digest, what in referred.items() if (problem := objects.problem(digest))),
    )
    return _Checked(
        run=run_id, ok=report.ok and not problems, status=view.status, sealed=report.sealed,
        journals=len(report.journals), events=sum(journal.events for journal in report.journals),
        objects=len(referred), torn=sum(journal.torn for journal in report.journals), problems=problems,
        readable=dict(Counter(map(_type, _readable(view.path))).most_common()) if salvage else None,
    )  # fmt: skip


def _objects_of(view: RunView) -> Iterator[tuple[str, str, bool]]:
    """Yield the digests a run refers to whose bytes should be in the store, as what, and which are folders."""
    for artifact in view.artifacts:
        if artifact.digest is not None and artifact.uri is None:
            yield artifact.digest, f"artifact {artifact.name!r}", artifact.tree
    for media in view.media:
        if media.digest is not None:
            yield media.digest, f"media {media.name!r}", False


class _Objects:
    """Check each object of a store once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._found: dict[str, str | None] = {}

    def parts(self, digest: str, *, tree: bool) -> tuple[str, ...]:
        """Return the digest, and for a folder those of its files as far as they are known."""
        try:
            return (digest, *(entry.digest for entry in self._store.manifest(digest).files)) if tree else (digest,)
        except UnitrackError:
            return (digest,)  # missing or damaged itself

    def problem(self, digest: str) -> str | None:
        if digest not in self._found:
            self._found[digest] = self._check(digest)
        return self._found[digest]

    def _check(self, digest: str) -> str | None:
        try:
            path = self._store.get(digest)
        except UsageError:
            return f"its object {digest[:19]}... is not in the store"
        return None if self._store.verify(digest) else f"its object {path} is damaged"


def _readable(run: Path) -> Iterator[Event]:
    for journal in layout.journals(run):
        yield from read_journal(journal, salvage=True)


def _type(event: Event) -> str:
    return event.type if isinstance(event, Unknown) else str(event.__struct_config__.tag)


def _write_readable(run: Path, output: Path) -> None:
    try:
        with output.open("xb") as file:
            file.writelines(encode_line(event) for event in _readable(run))
    except FileExistsError:
        raise UsageError(f"{output} exists: name a new file") from None


def _render(checked: Iterable[_Checked], console: Console) -> None:
    checked = list(checked)
    rows = [
        (
            each.run, styled("ok" if each.ok else "damaged", "green" if each.ok else "bold red"), each.status,
            each.journals, each.events, each.objects, each.torn,
        )
        for each in checked
    ]  # fmt: skip
    columns = ["run", "worth", "status", "journals", "events", "objects", "torn bytes"]
    if rows:
        console.print(table(columns, rows, right=columns[3:]))
    for each in checked:
        for problem in each.problems:
            console.print(f"{each.run}: {problem}", style="red")
        if each.readable is not None:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in each.readable.items())
            console.print(f"{each.run}: readable: {counts or 'nothing'}")
    bad = sum(not each.ok for each in checked)
    console.print(f"{len(rows)} runs checked, {bad or 'none'} damaged", style="bold red" if bad else "dim")
