"""What somebody moved in a system of its own aliases, told as changes."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from unitrack.registry import changes
from unitrack.registry.outside import moved, wanted_aliases
from unitrack.registry.state import ModelFile

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
STAMP = changes.Stamp(by="Ada", time=NOON, reason="why not")


@pytest.fixture
def model() -> ModelFile:
    """Return three versions: 1 in production and the champion, 2 and 3 in staging."""
    made = changes.new_model("digits")
    for number in (1, 2, 3):
        made = changes.register(
            made, STAMP, run=f"run-{number}", artifact=None, digest=None, commit=None, metrics={}, description=""
        )
        made = changes.set_stage(made, number, "staging", STAMP)
    made = changes.set_stage(made, 1, "production", STAMP)
    return changes.set_alias(made, "champion", 1, STAMP)


def told(model: ModelFile, aliases: dict[str, int]) -> list[tuple[object, ...]]:
    found = moved(model, aliases, system="Elsewhere", when=NOON)
    assert {change.by for change in found} <= {"Elsewhere"}
    return [(change.action, change.version, change.alias, change.before, change.after) for change in found]


def test_the_aliases_wanted_are_the_free_ones_and_who_is_in_staging_and_production(model: ModelFile) -> None:
    assert wanted_aliases(model) == {"champion": 1, "production": 1, "staging": 3}


def test_nothing_is_told_where_nothing_was_moved(model: ModelFile) -> None:
    assert told(model, wanted_aliases(model)) == []


def test_what_was_moved_is_told_and_makes_the_two_agree(model: ModelFile) -> None:
    aliases = {"production": 2, "champion": 3, "theirs": 1}
    assert told(model, aliases) == [
        ("alias", 3, "champion", 1, 3),
        ("alias", 1, "theirs", None, 1),
        ("stage", 3, None, "staging", "retired"),
        ("stage", 1, None, "production", "retired"),
        ("stage", 2, None, "staging", "production"),
    ]
    after = model
    for change in moved(model, aliases, system="Elsewhere", when=NOON):
        after = changes.redo(after, change, after.versions[change.version - 1])
    assert wanted_aliases(after) == aliases


def test_an_alias_that_was_taken_away_is_told(model: ModelFile) -> None:
    assert told(model, {"production": 1, "staging": 3}) == [("delete_alias", 1, "champion", 1, None)]
