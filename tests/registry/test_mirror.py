"""One registry made equal to another, also when a kill came in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.test_local import Clock
from unitrack.errors import RegistryError
from unitrack.registry import STAGES, LocalRegistry
from unitrack.registry.mirror import behind, mirror


def made(path: Path) -> LocalRegistry:
    return LocalRegistry(path, clock=Clock(), identity=lambda: "Ada")


def a_life(registry: LocalRegistry, versions: int = 3) -> None:
    for number in range(1, versions + 1):
        registry.register("digits", run=f"run-{number}", digest=f"sha256:{number}", metrics={"accuracy": number / 7})
        registry.set_stage("digits", number, "staging", reason="gate passed", by="Mia")
        registry.set_stage("digits", number, "production", reason="gate passed", by="Mia")
        registry.set_alias("digits", "champion", number, reason="best so far")
    if versions > 1:
        registry.rollback("digits", reason="too slow")
    registry.delete_alias("digits", "champion", reason="nobody asks for it")


def test_a_mirror_holds_the_same_versions_stages_aliases_and_history(tmp_path: Path) -> None:
    source, target = made(tmp_path / "a"), LocalRegistry(tmp_path / "b")
    a_life(source)
    assert behind(source, target, "digits").new
    told: list[int] = []
    count = mirror(source, target, "digits", progress=told.append)
    assert target.state("digits") == source.state("digits")
    assert count == sum(told) == len(source.history("digits"))
    assert (tmp_path / "a/digits.json").read_bytes() == (tmp_path / "b/digits.json").read_bytes()


def test_a_mirror_goes_on_where_it_was(tmp_path: Path) -> None:
    source, target = made(tmp_path / "a"), LocalRegistry(tmp_path / "b")
    a_life(source)
    mirror(source, target, "digits")
    source.register("digits", run="run-9")
    source.set_alias("digits", "candidate", 4, reason="to be tried")
    assert behind(source, target, "digits").changes == 2
    assert mirror(source, target, "digits") == 2
    assert mirror(source, target, "digits") == 0
    assert target.state("digits") == source.state("digits")


def test_a_registry_that_went_its_own_way_is_left_alone(tmp_path: Path) -> None:
    source, target = made(tmp_path / "a"), made(tmp_path / "b")
    a_life(source)
    mirror(source, target, "digits")
    target.set_alias("digits", "mine", 1, reason="I like it")
    before = (tmp_path / "b/digits.json").read_bytes()
    with pytest.raises(RegistryError, match=r"went different ways with 'digits': after \d+ equal changes .*alias mine"):
        mirror(source, target, "digits")
    assert (tmp_path / "b/digits.json").read_bytes() == before


def test_versions_that_differ_under_an_equal_history_are_noticed(tmp_path: Path) -> None:
    source, target = made(tmp_path / "a"), made(tmp_path / "b")
    source.register("digits", run="run-1", digest="sha256:1")
    target.register("digits", run="run-1", digest="sha256:2")
    with pytest.raises(RegistryError, match=r"version 1 of run run-1 \(sha256:2\) there"):
        behind(source, target, "digits")


def test_a_mirror_of_a_thousand_versions_killed_again_and_again_becomes_equal(tmp_path: Path) -> None:
    source = made(tmp_path / "a")

    def fill(model):  # registering one by one would write the file a thousand times
        from unitrack.registry import changes

        start = datetime(2026, 3, 1, tzinfo=timezone.utc)
        for number in range(1, 1001):
            stamp = changes.Stamp(by="Ada", time=start + timedelta(minutes=number), reason="gate passed")
            model = changes.register(
                model, stamp, run=f"run-{number}", artifact="model", digest=f"sha256:{number}", commit=None,
                metrics={"accuracy": 0.5}, description="",
            )  # fmt: skip
            if number % 10 == 0:
                model = changes.set_stage(model, number, "staging", stamp)
                model = changes.set_stage(model, number, "production", stamp)
        return model

    source.change("digits", fill, create=True)
    kills = 0
    for wait in (0.2, 0.5, 0.9, 1.4):
        child = multiprocessing.get_context("fork").Process(
            target=lambda: mirror(source, LocalRegistry(tmp_path / "b"), "digits")
        )
        child.start()
        time.sleep(wait)
        if child.is_alive():
            os.kill(child.pid or 0, signal.SIGKILL)
            kills += 1
        child.join()
    target = LocalRegistry(tmp_path / "b")
    mirror(source, target, "digits")
    assert kills > 0
    assert target.state("digits") == source.state("digits")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("register", "alias", "delete", "rollback", *STAGES)), st.integers(1, 4))))
def test_whatever_was_done_a_mirror_is_equal(tmp_path_factory: pytest.TempPathFactory, deeds) -> None:
    folder = tmp_path_factory.mktemp("any")
    source, target = made(folder / "a"), LocalRegistry(folder / "b")
    source.register("digits", run="run-0")
    for deed, number in deeds:
        try:
            if deed == "register":
                source.register("digits", run=f"run-{number}", description="x\ny")
            elif deed == "alias":
                source.set_alias("digits", f"a{number % 2}", number, reason="why not")
            elif deed == "delete":
                source.delete_alias("digits", f"a{number % 2}", reason="why not")
            elif deed == "rollback":
                source.rollback("digits", reason="why not")
            else:
                source.set_stage("digits", number, deed, reason="why not", force=True)
        except RegistryError:
            continue
    mirror(source, target, "digits")
    assert target.state("digits") == source.state("digits")
