"""Waivers: reasoned, scoped, expiring records that let a failed metric through.

They stand in `unitrack.waivers.json` beside the settings, committed and reviewed. A gate reads the file
from where it reads the policy: in CI the base branch, so that a pull request can't waive its own failure.
Pure: others read the file, the clock and git.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import jsonschema
import msgspec

from unitrack import schemas
from unitrack.errors import ConfigError, UsageError
from unitrack.gate.verdict import Waiver

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unitrack.gate.decision import MetricDecision

__all__ = [
    "LACKING",
    "LONGEST",
    "WAIVER_FILE",
    "Applied",
    "WaiverFile",
    "WaiverRecord",
    "apply",
    "contradiction",
    "covers",
    "decode",
    "encode",
    "make_waiver",
    "parse_expiry",
    "public",
]

WAIVER_FILE = "unitrack.waivers.json"
LONGEST = timedelta(days=90)
"""How long a waiver may last: what is meant for longer belongs into the policy."""

LACKING = frozenset(
    {
        "baseline_missing",
        "baseline_not_finite",
        "candidate_missing",
        "candidate_not_finite",
        "new_metric",
        "unlike_hardware",
    }
)
"""Causes of a decision made without a comparison; only a waiver that says `missing` lets these through."""

_SKEW = timedelta(minutes=5)  # two machines' clocks may differ by so much
_LARGEST = 1 << 20  # bytes
_SPAN = re.compile(r"(?P<count>[0-9]{1,4})(?P<unit>[hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"  # \S alone would take a NUL
_Name = Annotated[str, msgspec.Meta(pattern=_LINE, max_length=300)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class WaiverRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One waiver as its file holds it.

    `scope` is the full id of a commit, or else the name of a branch. Without `model` it holds for every model's gate.
    `missing` lets the metric through even if it is missing or not finite.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"^w-[0-9a-f]{12}$")]
    metric: _Name
    model: _Name | None = None
    scope: _Name
    reason: Annotated[str, msgspec.Meta(pattern=_LINE, max_length=1000)]
    who: _Name
    created: _Time
    expires: _Time
    missing: bool = False


class WaiverFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All waivers of a project, oldest first."""

    schema: Literal[1] = 1
    waivers: tuple[WaiverRecord, ...] = ()


class Applied(NamedTuple):
    """Decisions with `waived` set where a waiver holds, the waivers used, and what readers should know."""

    decisions: tuple[MetricDecision, ...]
    used: tuple[Waiver, ...]
    warnings: tuple[str, ...]


def apply(
    decisions: Sequence[MetricDecision],
    waivers: Sequence[WaiverRecord],
    *,
    commit: str,
    branch: str | None,
    now: float,
    model: str | None = None,
) -> Applied:
    """Let failed metrics through for which a waiver holds at `now` (epoch seconds).

    `branch` is the candidate's; give None where a stranger chose its name, as in a fork.
    """
    moment = datetime.fromtimestamp(now, timezone.utc)
    mine = [one for one in waivers if covers(one, commit=commit, branch=branch, model=model)]
    made, used, warnings = [], dict[str, WaiverRecord](), list[str]()
    for decision in decisions:
        named = [one for one in mine if one.metric == decision.name] if decision.decision == "fail" else []
        holding = [one for one in named if _why_not(one, decision, moment) is None]
        if holding:
            chosen = max(holding, key=lambda one: (one.expires, one.id))
            made.append(msgspec.structs.replace(decision, waived=chosen.id))
            used[chosen.id] = chosen
            warnings.append(_told(chosen))
        else:
            made.append(decision)
            warnings += [f"waiver {one.id}: {_why_not(one, decision, moment)}" for one in named]
    return Applied(tuple(made), tuple(map(public, used.values())), (*warnings, *_idle(mine, decisions)))


def covers(waiver: WaiverRecord, *, commit: str, branch: str | None, model: str | None) -> bool:
    """Tell whether a waiver is about this candidate, whatever the time."""
    if waiver.model is not None and waiver.model != model:
        return False
    return waiver.scope == (commit if _COMMIT.fullmatch(waiver.scope) else branch)


def contradiction(decisions: Sequence[MetricDecision], used: Sequence[Waiver]) -> str | None:
    """Say where the waived decisions of a verdict don't fit the waivers it shows."""
    by_id = {one.id: one for one in used}
    for one in decisions:
        waiver = None if one.waived is None else by_id.pop(one.waived, None)
        if one.waived is None:
            continue
        if waiver is None or waiver.metric != one.name:
            return f"{one.name} is waived by {one.waived}, which is no waiver of it"
        if one.decision != "fail" or (one.cause in LACKING and not waiver.missing):
            return f"{one.name} is waived by {one.waived}, which can't let it through"
    return f"its waiver {next(iter(by_id))} waives nothing" if by_id else None


def _why_not(waiver: WaiverRecord, decision: MetricDecision, now: datetime) -> str | None:
    if waiver.expires <= now:
        return f"it expired on {_day(waiver.expires)}: repair {decision.name}, or have a new one reviewed"
    if waiver.created > now + _SKEW:
        return f"it holds from {_day(waiver.created)} on, which is to come"
    if decision.cause in LACKING and not waiver.missing:
        return f"it does not let {decision.name} through: there is no value to compare, and it does not say `missing`"
    return None


def _told(waiver: WaiverRecord) -> str:
    return (
        f"{waiver.metric} failed and is let through by waiver {waiver.id} of {waiver.who} "
        f"until {_day(waiver.expires)}: {waiver.reason}"
    )


def _idle(waivers: Iterable[WaiverRecord], decisions: Sequence[MetricDecision]) -> list[str]:
    known = {one.name for one in decisions}
    return [
        f"waiver {one.id} is for {one.metric}, which no rule of the policy is about"
        for one in waivers
        if one.metric not in known
    ]


def public(waiver: WaiverRecord) -> Waiver:
    """Return a waiver as verdicts show it."""
    return Waiver(
        id=waiver.id,
        metric=waiver.metric,
        scope=waiver.scope,
        reason=waiver.reason,
        who=waiver.who,
        created=waiver.created.timestamp(),
        expires=waiver.expires.timestamp(),
        missing=waiver.missing,
    )


def _day(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def make_waiver(
    *,
    metric: str,
    scope: str,
    reason: str,
    who: str,
    created: datetime,
    expires: datetime,
    model: str | None = None,
    missing: bool = False,
) -> WaiverRecord:
    """Make a waiver, its id from its content. Raises UsageError for one that no gate would take."""
    blank = WaiverRecord(
        id="w-000000000000", metric=metric, model=model, scope=scope, reason=reason, who=who,
        created=_seconds(created), expires=_seconds(expires), missing=missing,
    )  # fmt: skip
    digest = hashlib.sha256(msgspec.json.encode(blank, order="deterministic")).hexdigest()
    made = msgspec.structs.replace(blank, id=f"w-{digest[:12]}")
    try:
        msgspec.convert(msgspec.to_builtins(made), WaiverRecord)
    except msgspec.ValidationError as error:
        raise UsageError(f"this can't be a waiver: {error}: use one line of ordinary characters") from error
    fault = _fault(made)
    if fault is not None:
        raise UsageError(f"this can't be a waiver: {fault}")
    return made


def _seconds(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(microsecond=0)


def _fault(waiver: WaiverRecord) -> str | None:
    words = (waiver.id, waiver.metric, waiver.model or "", waiver.scope, waiver.reason, waiver.who)
    if any("\n" in each for each in words):  # which a pattern's $ lets stand at the end
        return "a text of it ends in a line break"
    if waiver.expires <= waiver.created:
        return f"it expires on {_day(waiver.expires)}, which is not after {_day(waiver.created)}"
    if waiver.expires - waiver.created > LONGEST:
        return f"it would last longer than {LONGEST.days} days: what is meant to stay belongs into the policy"
    return None


def parse_expiry(words: str, *, now: datetime) -> datetime:
    """Return the moment that `14d`, `36h`, `2w`, `2026-12-31` (its end, UTC) or an ISO 8601 time with zone means.

    Raises UsageError.
    """
    span = _SPAN.fullmatch(words.strip())
    if span is not None:
        return now + int(span["count"]) * _UNITS[span["unit"]]
    try:
        day = datetime.strptime(words.strip(), "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        return _parse_moment(words)
    return day + timedelta(days=1)


def _parse_moment(words: str) -> datetime:
    try:
        moment = msgspec.convert(words.strip(), datetime)
    except (msgspec.ValidationError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise UsageError(f"{words[:80]!r} is no expiry: write 14d, 36h, 2w, 2026-12-31 or 2026-12-31T12:00:00Z")
    return moment


def encode(waivers: Iterable[WaiverRecord]) -> bytes:
    """Return the bytes of the waivers' file: one value a line, made to be reviewed and merged."""
    return msgspec.json.format(msgspec.json.encode(WaiverFile(waivers=tuple(waivers))), indent=2) + b"\n"


def decode(data: bytes, *, source: str = WAIVER_FILE) -> tuple[WaiverRecord, ...]:
    """Check a waivers' file and return its waivers; expired ones stay. Raises ConfigError naming `source`."""
    tree = _parse(data, source)
    try:
        jsonschema.Draft202012Validator(schemas.load("waivers")).validate(tree)
        waivers = msgspec.convert(tree, WaiverFile).waivers
    except jsonschema.ValidationError as error:
        # The end of such a message says what is wrong, its start repeats the value.
        words = error.message if len(error.message) <= 300 else f"{error.message[:100]} ... {error.message[-200:]}"
        raise ConfigError(f"no waivers: {error.json_path}: {words}", file=source) from error
    except msgspec.ValidationError as error:  # what a schema can't say, such as a date that does not exist
        raise ConfigError(f"no waivers: {error}", file=source) from error
    for at, one in enumerate(waivers):
        twice = "another one has its id" if one.id in {other.id for other in waivers[:at]} else None
        fault = _fault(one) or twice
        if fault is not None:
            raise ConfigError(f"waiver {one.id}: {fault}; change it or take it out", file=source)
    return waivers


def _parse(data: bytes, source: str) -> Any:
    if len(data) > _LARGEST:
        raise ConfigError(f"{len(data):,} bytes are too many for waivers: take out those that expired", file=source)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"no waivers: {str(error) or 'nested too deep'}", file=source) from error
