"""A model in a system that has aliases of its own, which people there move without asking: pure.

Free aliases are the system's own, and so are `staging` and `production`. Where it says other than the history, somebody
moved something there, and that is told as changes like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from unitrack.registry.interface import Stage
from unitrack.registry.state import Change, ModelFile

__all__ = ["moved", "stage_moved", "wanted_aliases"]

_HELD: tuple[Stage, ...] = ("staging", "production")


def wanted_aliases(model: ModelFile) -> dict[str, int]:
    """Return the aliases a system should have: the free ones, and who is in staging and in production."""
    held = {record.stage: record.version for record in model.versions if record.stage in _HELD}
    return {**model.aliases, **{str(stage): number for stage, number in held.items()}}


def moved(model: ModelFile, aliases: Mapping[str, int], *, system: str, when: datetime) -> list[Change]:
    """Return what somebody did whose deeds left `aliases` in `system`, a word for people."""
    return [*_moved_aliases(model, aliases, system, when), *_moved_stages(model, aliases, system, when)]


def stage_moved(
    number: int, before: Stage | None, after: Stage, *, system: str, when: datetime, reason: str = ""
) -> Change:
    """Return the change that somebody made to a version's stage in `system`."""
    return Change(
        time=when, by=system, action="stage", version=number, before=before, after=after,
        reason=reason or f"moved in {system}", forced=True,
    )  # fmt: skip


def _moved_aliases(model: ModelFile, aliases: Mapping[str, int], system: str, when: datetime) -> list[Change]:
    free = {alias: number for alias, number in aliases.items() if alias not in _HELD}
    changed = [
        Change(
            time=when, by=system, action="alias", version=number, alias=alias, before=model.aliases.get(alias),
            after=number, reason=f"moved in {system}",
        )
        for alias, number in sorted(free.items())
        if model.aliases.get(alias) != number
    ]  # fmt: skip
    gone = [
        Change(
            time=when, by=system, action="delete_alias", version=number, alias=alias, before=number,
            reason=f"taken away in {system}",
        )
        for alias, number in sorted(model.aliases.items())
        if alias not in free
    ]  # fmt: skip
    return [*changed, *gone]


def _moved_stages(model: ModelFile, aliases: Mapping[str, int], system: str, when: datetime) -> list[Change]:
    """Of several versions in staging the alias can name but one, so only a change of that one is a move."""
    found = []
    wanted = wanted_aliases(model)
    for stage in _HELD:
        was, now = wanted.get(stage), aliases.get(stage)
        if was == now:
            continue
        if was is not None:
            found.append(stage_moved(was, stage, "retired", system=system, when=when))
        if now is not None:
            before = model.versions[now - 1].stage
            found.append(stage_moved(now, before, stage, system=system, when=when))
    return found
