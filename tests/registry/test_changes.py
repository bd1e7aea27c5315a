"""The rules of the registry, without a file."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from unitrack.errors import RegistryError
from unitrack.registry import STAGES, changes, parse_reference
from unitrack.registry.changes import TRANSITIONS, Stamp, replay
from unitrack.registry.state import ModelFile

STAMP = Stamp(by="Ada", time=datetime(2026, 3, 1, 12, tzinfo=timezone.utc), reason="it is better")


def registered(count: int) -> ModelFile:
    model = changes.new_model("digits")
    for number in range(1, count + 1):
        model = changes.register(
            model, STAMP, run=f"run-{number}", artifact=None, digest=None, commit=None, metrics={}, description=""
        )
    return model


def promoted(model: ModelFile, *versions: int) -> ModelFile:
    for version in versions:
        model = changes.set_stage(model, version, "staging", STAMP)
        model = changes.set_stage(model, version, "production", STAMP)
    return model


def stages(model: ModelFile) -> list[str | None]:
    return [record.stage for record in model.versions]


def found(model: ModelFile, reference: str) -> int:
    return changes.resolve(model, parse_reference(reference)).version


def test_versions_count_from_one() -> None:
    assert [record.version for record in registered(3).versions] == [1, 2, 3]


def test_a_state_is_never_changed_in_place() -> None:
    before = registered(1)
    after = changes.set_alias(before, "champion", 1, STAMP)
    assert before.aliases == {}
    assert after.aliases == {"champion": 1}


@pytest.mark.parametrize("before", TRANSITIONS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_version_moves_along_the_table_and_no_other_way(before: str | None, stage: str) -> None:
    model = registered(1)
    if before is not None:
        model = changes.set_stage(model, 1, before, STAMP, force=True)
    if stage == before or stage in TRANSITIONS[before]:
        assert stages(changes.set_stage(model, 1, stage, STAMP)) == [stage]
    else:
        with pytest.raises(RegistryError, match=f"can't go to {stage}"):
            changes.set_stage(model, 1, stage, STAMP)


def test_force_overrules_the_table_and_the_history_shows_it() -> None:
    model = changes.set_stage(registered(1), 1, "production", STAMP, force=True)
    assert stages(model) == ["production"]
    assert model.history[-1].forced


def test_force_where_the_way_is_open_is_not_recorded_as_forced() -> None:
    assert not changes.set_stage(registered(1), 1, "staging", STAMP, force=True).history[-1].forced


def test_entering_production_retires_the_version_that_was_there() -> None:
    model = promoted(registered(2), 1, 2)
    assert stages(model) == ["retired", "production"]
    retired = model.history[-2]
    assert (retired.version, retired.before, retired.after) == (1, "production", "retired")
    assert retired.reason == "version 2 took its place: it is better"


def test_a_stage_set_as_alias_follows_the_rules_of_stages() -> None:
    model = changes.set_alias(registered(1), "staging", 1, STAMP)
    assert stages(model) == ["staging"]
    assert model.aliases == {}
    with pytest.raises(RegistryError, match="can't go to production"):
        changes.set_alias(registered(1), "production", 1, STAMP)


def test_doing_a_thing_twice_leaves_one_trace() -> None:
    model = changes.set_alias(promoted(registered(1), 1), "champion", 1, STAMP)
    assert changes.set_alias(model, "champion", 1, STAMP) is model
    assert changes.set_stage(model, 1, "production", STAMP) is model


def test_an_alias_moves_and_the_history_says_from_where() -> None:
    model = changes.set_alias(registered(2), "champion", 1, STAMP)
    model = changes.set_alias(model, "champion", 2, STAMP)
    assert found(model, "digits@champion") == 2
    assert (model.history[-1].before, model.history[-1].after) == (1, 2)


def test_a_deleted_alias_stays_in_the_history() -> None:
    model = changes.delete_alias(changes.set_alias(registered(1), "champion", 1, STAMP), "champion", STAMP)
    assert model.aliases == {}
    assert [change.action for change in model.history] == ["register", "alias", "delete_alias"]


def test_deleting_what_is_no_alias_says_what_is() -> None:
    model = changes.set_alias(registered(1), "champion", 1, STAMP)
    with pytest.raises(RegistryError, match="no alias 'challenger'; it has champion"):
        changes.delete_alias(model, "challenger", STAMP)


def test_a_stage_is_left_by_moving_not_by_deleting_it() -> None:
    with pytest.raises(RegistryError, match="is a stage"):
        changes.delete_alias(promoted(registered(1), 1), "production", STAMP)


def test_rollback_puts_the_previous_production_version_back() -> None:
    model = changes.rollback(promoted(registered(3), 1, 2), STAMP)
    assert stages(model) == ["production", "retired", None]
    assert model.history[-1].action == "rollback"
    assert model.history[-1].reason == "it is better"


def test_rollback_done_twice_goes_back_twice() -> None:
    model = changes.rollback(changes.rollback(promoted(registered(3), 1, 2, 3), STAMP), STAMP)
    assert stages(model) == ["production", "retired", "retired"]
    with pytest.raises(RegistryError, match="there is none before it"):
        changes.rollback(model, STAMP)


def test_rollback_after_a_version_came_back_to_production_returns_to_the_one_between() -> None:
    model = changes.rollback(promoted(registered(2), 1, 2, 1), STAMP)
    assert stages(model) == ["retired", "production"]


def test_rollback_without_a_production_version_says_what_to_do() -> None:
    model = changes.set_stage(promoted(registered(1), 1), 1, "retired", STAMP)
    with pytest.raises(RegistryError, match="none to roll back; move a version to staging"):
        changes.rollback(model, STAMP)


def test_latest_is_the_highest_version() -> None:
    model = registered(3)
    assert found(model, "digits") == found(model, "digits@latest") == found(model, "digits:3") == 3


def test_a_stage_with_several_versions_names_the_highest() -> None:
    model = promoted(registered(4), 1, 2, 3)
    assert found(model, "digits@retired") == 2
    assert found(model, "digits@production") == 3


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digits:9", r"no version 9; it has 1 to 2"),
        ("digits:0", r"no version 0; it has 1 to 2"),
        ("digits@production", r"in stage 'production'; in a stage are: 2 \(staging\)"),
        ("digits@other", r"no alias 'other'; it has champion"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(reference: str, message: str) -> None:
    model = changes.set_alias(changes.set_stage(registered(2), 2, "staging", STAMP), "champion", 1, STAMP)
    with pytest.raises(RegistryError, match=message):
        found(model, reference)


def test_a_model_without_versions_resolves_to_nothing() -> None:
    with pytest.raises(RegistryError, match="has no version"):
        found(changes.new_model("digits"), "digits")


@pytest.mark.parametrize("version", [True, 1.0, "1", None])
def test_a_version_is_an_int(version: object) -> None:
    with pytest.raises(TypeError, match="a version is an int"):
        changes.set_alias(registered(1), "champion", version, STAMP)


class AgainstASimpleModel(RuleBasedStateMachine):
    """Any series of changes leaves what a dict of stages, a dict of aliases and a list of holders say."""

    def __init__(self) -> None:
        super().__init__()
        self.model = changes.new_model("digits")
        self.stages: dict[int, str | None] = {}
        self.aliases: dict[str, int] = {}
        self.holders: list[int] = []
        self.seen = self.model.history

    def holder(self) -> int | None:
        return next((version for version, stage in self.stages.items() if stage == "production"), None)

    def enter(self, version: int, stage: str) -> None:
        if stage == "production" and self.holder() is not None:
            self.stages[self.holder()] = "retired"
        self.stages[version] = stage

    @rule()
    def register(self) -> None:
        self.stages[len(self.stages) + 1] = None
        self.model = changes.register(
            self.model, STAMP, run="r", artifact=None, digest=None, commit=None, metrics={}, description=""
        )

    @precondition(lambda self: self.stages)
    @rule(data=st.data(), stage=st.sampled_from(STAGES), force=st.booleans())
    def move(self, data: st.DataObject, stage: str, force: bool) -> None:
        version = data.draw(st.sampled_from(list(self.stages)))
        before = self.stages[version]
        if stage == before or force or stage in TRANSITIONS[before]:
            self.model = changes.set_stage(self.model, version, stage, STAMP, force=force)
            if stage == "production" != before:
                self.holders.append(version)
            if stage != before:
                self.enter(version, stage)
        else:
            with pytest.raises(RegistryError):
                changes.set_stage(self.model, version, stage, STAMP)

    @precondition(lambda self: self.stages)
    @rule(data=st.data(), alias=st.sampled_from(["champion", "challenger", "größe", "a-b_3"]))
    def point(self, data: st.DataObject, alias: str) -> None:
        self.aliases[alias] = data.draw(st.sampled_from(list(self.stages)))
        self.model = changes.set_alias(self.model, alias, self.aliases[alias], STAMP)

    @precondition(lambda self: self.aliases)
    @rule(data=st.data())
    def unpoint(self, data: st.DataObject) -> None:
        alias = data.draw(st.sampled_from(sorted(self.aliases)))
        del self.aliases[alias]
        self.model = changes.delete_alias(self.model, alias, STAMP)

    @rule()
    def roll_back(self) -> None:
        current = self.holder()
        while current is not None and self.holders and self.holders[-1] == current:
            self.holders.pop()
        if current is None or not self.holders:
            if current is not None:
                self.holders.append(current)
            with pytest.raises(RegistryError):
                changes.rollback(self.model, STAMP)
            return
        self.model = changes.rollback(self.model, STAMP)
        self.enter(self.holders[-1], "production")

    @invariant()
    def state_is_what_the_simple_model_says(self) -> None:
        assert {record.version: record.stage for record in self.model.versions} == self.stages
        assert self.model.aliases == self.aliases

    @invariant()
    def history_only_grows_and_explains_the_state(self) -> None:
        assert self.model.history[: len(self.seen)] == self.seen
        self.seen = self.model.history
        staged = {version: stage for version, stage in self.stages.items() if stage is not None}
        assert replay(self.model.history) == (len(self.stages), staged, self.aliases)


TestAgainstASimpleModel = AgainstASimpleModel.TestCase
