"""Make an audit of a run: every item of every phase, and the steps of CRISP-DM."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from unitrack.audit import checks
from unitrack.audit.checks import Finding, State, Surroundings, View
from unitrack.audit.items import ITEMS, PHASES, STEPS, Item, PhaseName, StepItem

__all__ = ["Audit", "Checked", "Finding", "Phase", "Step", "Surroundings", "audit_run", "encode", "examine"]

_LONGEST = 500


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One item: `remedy` is the line of code or configuration that would satisfy it, if it is missing."""

    name: str
    title: str
    state: State
    evidence: str
    remedy: str | None = None


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of the table, with its items."""

    name: PhaseName
    title: str
    items: tuple[Checked, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of CRISP-DM: what its owner notes, and what the run shows of it."""

    name: str
    title: str
    state: State
    note: str | None = None
    evidence: str | None = None
    remedy: str | None = None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `unitrack audit`."""

    run: str
    project: str
    unitrack: str
    satisfied: int
    missing: int
    not_applicable: int
    phases: tuple[Phase, ...]
    crisp_dm: tuple[Step, ...]

    @property
    def items(self) -> tuple[Checked, ...]:
        """All items, in order."""
        return tuple(item for phase in self.phases for item in phase.items)


def encode(audit: Audit) -> bytes:
    """Return an audit as JSON."""
    return msgspec.json.format(msgspec.json.encode(audit), indent=2) + b"\n"


def examine(name: str, view: View, around: Surroundings) -> Finding:
    """Return how one item stands for a run. Raises KeyError for a name that no item has."""
    return checks.CHECKS[name](view, around)


def audit_run(view: Any, around: Surroundings, *, version: str) -> Audit:
    """Audit a `RunView`; `version` is unitrack's. Raises JournalError if a journal is damaged."""
    checked = [(item.phase, _checked(item, view, around)) for item in ITEMS]
    states = [item.state for _, item in checked]
    return Audit(
        run=view.id,
        project=view.project,
        unitrack=version,
        satisfied=states.count("satisfied"),
        missing=states.count("missing"),
        not_applicable=states.count("not applicable"),
        phases=tuple(
            Phase(name=name, title=title, items=tuple(item for phase, item in checked if phase == name))
            for name, title in PHASES.items()
        ),
        crisp_dm=tuple(_step(step, view, around) for step in STEPS),
    )


def _checked(item: Item, view: View, around: Surroundings) -> Checked:
    found = examine(item.name, view, around)
    return Checked(
        name=item.name,
        title=item.title,
        state=found.state,
        evidence=found.evidence[:_LONGEST],
        remedy=item.remedy if found.state == "missing" else None,
    )


def _step(step: StepItem, view: View, around: Surroundings) -> Step:
    note = around.notes.get(step.name)
    evidence = "; ".join(_shown(step.name, view, around))[:_LONGEST] or None
    there = note or evidence
    return Step(
        name=step.name,
        title=step.title,
        state="satisfied" if there else "missing",
        note=note,
        evidence=evidence,
        remedy=None if there else f'{step.name} = "..."  # [audit.notes] in unitrack.toml',
    )


def _shown(step: str, view: View, around: Surroundings) -> Iterable[str]:
    """Yield what the run itself shows of a step. Why a model is wanted at all, no run can show."""
    if step == "data_understanding":
        yield from (f"{each.name}: {len(each.columns)} columns, {each.rows} rows" for each in view.datasets
                    if each.columns and each.rows is not None)  # fmt: skip
    elif step == "data_preparation" and view.datasets:
        yield from _evidence(("code.commit",), view, around)
    elif step == "modeling":
        yield from _evidence(("params", "model"), view, around)
    elif step == "evaluation" and view.metrics:
        yield f"{len(view.metrics)} metrics: {', '.join(sorted(view.metrics)[:5])}"
        yield from _evidence(("predictions",), view, around)
    elif step == "deployment" and around.production is not None:
        yield f"run {around.production.id} is in production"


def _evidence(names: Iterable[str], view: View, around: Surroundings) -> Iterable[str]:
    found = (examine(name, view, around) for name in names)
    return (finding.evidence for finding in found if finding.state == "satisfied")
