"""The rules of plugins that judge beside the policy's: none is left out in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.gate.decision import MetricDecision
from unitrack.gate.rules import judged_by, unusable_rule
from unitrack.hookspecs import GateRule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unitrack.plugins import Plugins

__all__ = ["Rules", "rules_of"]

_HOOK = "unitrack_register_gate_rules"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What plugins bring: rules by name with where they are from, and why others can't be asked."""

    usable: Mapping[str, GateRule] = {}
    sources: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Name all of them: with other rules, or other versions of them, it is another question."""
        return "; ".join((*self.sources, *self.problems))

    def judge(self, decisions: Sequence[MetricDecision]) -> tuple[MetricDecision, ...]:
        """Add what the rules find; one that can't be asked leaves the gate undecided."""
        broken = (unusable_rule(f"rules of plugins, {at + 1}", words) for at, words in enumerate(self.problems))
        return (*judged_by(self.usable, decisions), *broken)


def rules_of(plugins: Plugins) -> Rules:
    """Ask the plugins for their rules."""
    before = len(plugins.problems)
    found = plugins.collect(_HOOK)
    usable = plugins.named("gate_rules")
    return Rules(
        usable=usable,
        sources=tuple(sorted(f"{one.value.name} of {one.plugin.source}" for one in found if _is_in(one.value, usable))),
        problems=tuple(dict.fromkeys(map(str, plugins.problems[before:]))),
    )


def _is_in(value: object, usable: Mapping[str, GateRule]) -> bool:
    return getattr(value, "name", None) in usable
