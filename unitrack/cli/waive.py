"""`unitrack waive`: let a failed metric through, for a reason, somewhere, for a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import click

from unitrack.cli._output import Console, emit, iso, json_option, note, styled, table
from unitrack.config import Settings, load_settings
from unitrack.errors import EvidenceError, UsageError
from unitrack.files import write_atomic
from unitrack.gate.waivers import WAIVER_FILE, WaiverRecord, decode, encode, make_waiver, parse_expiry
from unitrack.registry.base import utc_now, whoever_runs_this
from unitrack.registry.lock import exclusive
from unitrack.rerun.git import Repository, find_repository

__all__ = ["command"]

_PATIENCE = 30.0  # seconds


@click.command(name="waive")
@click.argument("metric", required=False)
@click.option("--reason", metavar="TEXT", help="Why the loss is accepted; every report shows it.")
@click.option("--expires", metavar="14d|DATE", help="Until when: 36h, 14d, 2w, or a date; 90 days at most.")
@click.option("--scope", metavar="COMMIT|BRANCH", help="Whose failure; the branch that is checked out unless given.")
@click.option("--model", metavar="NAME", help="Only in the gate of this model.")
@click.option("--missing", is_flag=True, help="Even if the metric is missing or not finite.")
@click.option("--list", "listing", is_flag=True, help="List the waivers instead.")
@click.option("--revoke", metavar="ID", help="Take a waiver back instead.")
@json_option
def command(
    *,
    metric: str | None,
    reason: str | None,
    expires: str | None,
    scope: str | None,
    model: str | None,
    missing: bool,
    listing: bool,
    revoke: str | None,
    as_json: bool,
) -> None:
    """Let METRIC fail in the gate of one branch or commit.

    The waiver is written to unitrack.waivers.json beside the settings. Commit it where the gate takes its policy
    from, in CI the base branch: a pull request can't waive its own failure.
    """
    settings = load_settings()
    if sum([metric is not None, listing, revoke is not None]) != 1:
        raise UsageError("give one of a METRIC to waive, --list, or --revoke ID")
    if listing:
        _list(_read(_path(settings)), as_json=as_json)
        return
    if revoke is not None:
        gone = _revoke(settings, revoke)
        emit(gone, as_json=as_json, render=lambda console: console.print(f"{gone.id} for {gone.metric} is taken back"))
        return
    if not reason or not expires:
        raise UsageError(
            "a waiver needs --reason TEXT and --expires 14d|DATE: nothing is waived in silence or for ever"
        )
    now = utc_now()
    repository = find_repository(settings.root)
    made = make_waiver(
        metric=_checked(metric or "", settings),
        model=model,
        scope=_scope(repository, scope),
        reason=reason,
        who=whoever_runs_this(settings.root),
        created=now,
        expires=parse_expiry(expires, now=now),
        missing=missing,
    )
    _change(settings, lambda waivers: (*(one for one in waivers if one.id != made.id), made))
    emit(made, as_json=as_json, render=lambda console: console.print(_told(made)))
    note(f"commit {_path(settings)} on the branch that the gate takes its policy from")


def _told(made: WaiverRecord) -> str:
    return f"{made.id} lets {made.metric} fail for {made.scope} until {iso(made.expires.timestamp())}"


def _checked(metric: str, settings: Settings) -> str:
    known = [rule.name for rule in settings.gate.metrics] if settings.gate else []
    if known and metric not in known:
        raise UsageError(f"no rule of [gate] is about {metric[:200]!r}: its metrics are {', '.join(known[:20])}")
    return metric


def _scope(repository: Repository, given: str | None) -> str:
    """Return a branch's name, or else the full id of a commit."""
    if given is None:
        branch = repository.branch()
        if branch is None:
            raise UsageError("no branch is checked out: say with --scope whose failure is waived")
        return branch
    if any(_is_there(repository, f"refs/{where}/{given}") for where in ("heads", "remotes/origin")):
        return given
    return repository.commit(given)


def _is_there(repository: Repository, ref: str) -> bool:
    try:
        repository.commit(ref)
    except UsageError:
        return False
    return True


def _path(settings: Settings) -> Path:
    return settings.root / WAIVER_FILE


def _read(path: Path) -> tuple[WaiverRecord, ...]:
    try:
        return decode(path.read_bytes(), source=str(path))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise EvidenceError(f"{path} can't be read: {error.strerror}") from error


def _change(
    settings: Settings, change: Callable[[tuple[WaiverRecord, ...]], tuple[WaiverRecord, ...]]
) -> tuple[WaiverRecord, ...]:
    path = _path(settings)
    with _alone(settings):
        before = _read(path)
        try:
            write_atomic(path, encode(change(before)))
        except OSError as error:
            raise EvidenceError(f"{path} can't be written: {error.strerror}; nothing was changed") from error
    return before


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    folder = settings.store / "gate"
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / "waivers.lock", timeout=_PATIENCE, doing="another change of the waivers"):
        yield


def _revoke(settings: Settings, wanted: str) -> WaiverRecord:
    def without(waivers: tuple[WaiverRecord, ...]) -> tuple[WaiverRecord, ...]:
        rest = tuple(one for one in waivers if one.id != wanted)
        if len(rest) == len(waivers):
            known = ", ".join(one.id for one in waivers[-20:]) or "none"
            raise UsageError(f"there is no waiver {wanted[:80]!r}; there are {known}")
        return rest

    return next(one for one in _change(settings, without) if one.id == wanted)


def _list(waivers: tuple[WaiverRecord, ...], *, as_json: bool) -> None:
    now = utc_now()

    def render(console: Console) -> None:
        if not waivers:
            console.print("nothing is waived")
            return
        columns = ("waiver", "metric", "model", "scope", "until", "state", "who", "reason")
        console.print(table(columns, (_row(one, now) for one in waivers)))

    emit(waivers, as_json=as_json, render=render)


def _row(one: WaiverRecord, now: datetime) -> tuple[object, ...]:
    until = one.expires.astimezone(timezone.utc)
    state = styled("expired", "dim") if until <= now else styled("holds", "yellow")
    scope = one.scope[:12] if len(one.scope) >= 40 else one.scope
    return one.id, one.metric, one.model, scope, iso(until.timestamp()), state, one.who, one.reason
