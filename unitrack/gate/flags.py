"""Say where a candidate changes what judges it: the policy, the code that measures, the test data. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from unitrack.gate.verdict import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unitrack.config import EvaluateSettings, Settings

__all__ = ["evaluation_flags", "matches", "settings_flags", "test_data_flags"]

_MOST = 5
_LONGEST = 300


def settings_flags(base: Settings | None, candidate: Settings | None, *, base_judges: bool) -> list[Flag]:
    """Compare the sections that judge of base and candidate; None is one whose settings can't be read.

    `base_judges` tells whose policy was used.
    """
    used = "the base's was used" if base_judges else "the candidate's was used: name the base branch with --policy-ref"
    if base is None or candidate is None:
        whose = "base" if base is None else "candidate"
        return [_flag("policy", f"the settings of the {whose} can't be read: nobody can tell what changed; {used}")]
    flags = []
    for section in ("gate", "evaluate", "train"):
        changes = _changes(getattr(base, section), getattr(candidate, section))
        if changes:
            kind = "evaluation" if section == "evaluate" else "policy"
            heed = "the working tree's was used" if section == "train" else used
            flags.append(_flag(kind, f"the candidate changes [{section}] ({_some(changes)}): {heed}"))
    return flags


def _changes(used: Any, other: Any) -> list[str]:
    old, new = _leaves(used), _leaves(other)
    return [
        f"{name} {old.get(name, 'none')} → {new.get(name, 'none')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _leaves(settings: msgspec.Struct | None) -> dict[str, str]:
    found: dict[str, str] = {}
    tree = {} if settings is None else msgspec.to_builtins(settings)
    for key, value in tree.items():
        if key == "metrics":
            for rule in value:
                found.update({f"{rule.get('name')}.{field}": str(item) for field, item in rule.items()})
        else:
            found[key] = str(value)
    return found


def evaluation_flags(settings: EvaluateSettings, files: Sequence[str], *, trusted: bool) -> list[Flag]:
    """Flag changed files that measure, and test data kept in git. `trusted`: others than the candidate measure."""
    flags = []
    code = [file for file in files if any(matches(file, pattern) for pattern in settings.files)]
    if code:
        heed = "the base's own were used" if trusted else "its numbers are measured by the changed ones"
        flags.append(_flag("evaluation", f"the candidate changes files that measure ({_some(code)}): {heed}"))
    data = [file for file in files if any(matches(file, pattern) for pattern in settings.data)]
    if data:
        flags.append(_flag("test_data", f"the candidate changes files of test data: {_some(data)}"))
    return flags


def test_data_flags(candidate: Mapping[str, str], baseline: Mapping[str, str]) -> list[Flag]:
    """Flag test data that both sides recorded otherwise: name to version."""
    changed = [
        f"{name} {baseline.get(name, 'none')} → {candidate.get(name, 'none')}"
        for name in sorted({*candidate, *baseline})
        if candidate.get(name) != baseline.get(name)
    ]
    if not changed:
        return []
    return [_flag("test_data", f"candidate and baseline were measured on different test data: {_some(changed)}")]


def matches(path: str, pattern: str) -> bool:
    """Tell whether a path fits a pattern: `*` stays within a folder, `**` does not; letters' case counts not."""
    return _compiled(pattern).fullmatch(path) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts), re.IGNORECASE | re.DOTALL)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _MOST} more" if len(items) > _MOST else ""
    return ", ".join(item[:_LONGEST] for item in items[:_MOST]) + more


def _flag(kind: Any, text: str) -> Flag:
    return Flag(kind=kind, text=text)
