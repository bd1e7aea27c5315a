"""How commands show a verdict, and the verdicts of a store, newest first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unitrack.alerts import Message
from unitrack.cli._output import Console, emit, note, styled, table
from unitrack.report.terminal import Grid, blocks, style_of

if TYPE_CHECKING:
    from unitrack.gate.verdict import Verdict

__all__ = ["PastVerdict", "message_of", "past_verdicts", "show_history", "show_verdict"]

_LARGEST = 16 << 20  # bytes
_NAMED = 3


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    commit: str
    reference: str
    model: str | None = None


class _Metric(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    decision: str
    waived: str | None = None


class _Policy(msgspec.Struct, frozen=True, kw_only=True):
    model: str | None = None


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a table needs of a verdict: to check hundreds whole takes minutes, and nothing is decided by it."""

    key: str = ""
    created: float
    outcome: str
    attempt: int = 1
    policy: _Policy
    candidate: _Subject
    baseline: _Subject
    seeds: tuple[int, ...]
    metrics: tuple[_Metric, ...]


class PastVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict in short. `path` is its file, `failed` and `waived` name metrics, `created` is epoch seconds."""

    path: str
    key: str
    created: float
    model: str | None
    candidate: str
    baseline: str
    outcome: str
    attempt: int
    failed: tuple[str, ...]
    waived: tuple[str, ...]
    seeds: tuple[int, ...]


def message_of(verdict: Verdict, path: Path) -> Message:
    """Return what people are told of a verdict that failed."""
    failed = [f"{metric.name}: {metric.reason}" for metric in verdict.metrics if metric.decision == "fail"]
    model, commit = verdict.policy.model or "the candidate", verdict.candidate.commit[:12]
    more = [f"and {len(failed) - _NAMED} more"] if len(failed) > _NAMED else []
    return Message(
        title=f"{model}: {commit} is a regression" if failed else f"{model}: {commit} did not pass the gate",
        text="\n".join([*failed[:_NAMED], *more]),
        level="error",
        about=f"verdict {verdict.key[:16]}: unitrack report {path}",
    )


def past_verdicts(store: Path, *, model: str | None = None) -> tuple[list[PastVerdict], int]:
    """Return the store's verdicts, newest first, of one model if it is given, and how many files can't be read."""
    found, broken = [], 0
    for path in sorted(store.glob("gate/*/verdict.json")):
        try:
            if path.stat().st_size > _LARGEST:
                raise OSError
            found.append(_in_short(path, msgspec.json.decode(path.read_bytes(), type=_Verdict)))
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            broken += 1
    mine = [one for one in found if model is None or one.model == model]
    return sorted(mine, key=lambda one: (-one.created, one.path)), broken


def _in_short(path: Path, verdict: _Verdict) -> PastVerdict:
    return PastVerdict(
        path=str(path),
        key=verdict.key,
        created=verdict.created,
        model=verdict.policy.model,
        candidate=verdict.candidate.commit,
        baseline=verdict.baseline.model or verdict.baseline.commit or verdict.baseline.reference,
        outcome=verdict.outcome,
        attempt=verdict.attempt,
        failed=tuple(one.name for one in verdict.metrics if one.decision == "fail" and one.waived is None),
        waived=tuple(one.name for one in verdict.metrics if one.waived is not None),
        seeds=verdict.seeds,
    )


def show_history(store: Path, *, model: str | None, as_json: bool) -> None:
    """Print the verdicts of a store as a table or JSON."""
    found, broken = past_verdicts(store, model=model)

    def render(console: Console) -> None:
        if not found:
            console.print(f"no verdicts{f' of {model}' if model else ''} in {store}: `unitrack gate` makes them")
            return
        columns = ("when", "model", "candidate", "baseline", "outcome", "failed", "waived", "seeds", "attempt", "key")
        rows = (_row(one, console) for one in found)
        console.print(table(columns, rows, right=("seeds", "attempt")))

    emit(found, as_json=as_json, render=render)
    if broken:
        note(f"unitrack: warning: {broken} verdicts in {store / 'gate'} can't be read and are left out")


def _row(one: PastVerdict, console: Console) -> tuple[object, ...]:
    known = one.outcome in ("pass", "fail", "undecided")
    return (
        console.when(one.created),
        one.model,
        one.candidate[:12],
        one.baseline[:12] if len(one.baseline) >= 40 else one.baseline,
        styled(one.outcome, style_of(one.outcome)) if known else one.outcome,
        _some(one.failed),
        _some(one.waived),
        len(one.seeds),
        one.attempt,
        one.key[:16],
    )


def _some(names: tuple[str, ...]) -> str | None:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more or None


def show_verdict(console: Console, verdict: Verdict) -> None:
    """Print a verdict's blocks."""
    for block in blocks(verdict):
        if isinstance(block, Grid):
            rows = ((*row[:-1], styled(row[-1], style)) for row, style in zip(block.rows, block.styles, strict=True))
            console.print(table(block.columns, rows, right=block.right))
        else:
            console.print(block.text, style=block.style)
