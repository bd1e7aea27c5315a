"""What every registry outside this machine has to do; a class to inherit, as the tests of each such registry do."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support import toy
from unitrack.errors import RegistryError
from unitrack.registry import LocalRegistry, Registry, changes
from unitrack.registry.mirror import behind, mirror
from unitrack.registry.state import ModelFile
from unitrack.registry.using import obtain

__all__ = ["Clock", "RegistryContract", "live", "model_name", "opened"]


class Clock:
    """Goes on by a minute at every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


def model_name(request: pytest.FixtureRequest) -> str:
    """Return the name of a model of this test alone: some servers are shared."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:100].strip("-")


def opened(factory: str, options: Mapping[str, Any]) -> Registry:
    """Open a registry whose clock and identity are the tests'; `factory` is its `module:class`."""
    module, _, kind = factory.partition(":")
    registry: Registry = getattr(import_module(module), kind)().open(options)
    registry._clock, registry._identity = Clock(), lambda: "Ada"
    return registry


def live(registry: Registry, name: str) -> None:
    """Do to a model all that can be done."""
    registry.register(
        name, run="run-1", artifact="model", digest=f"sha256:{'a' * 64}", commit="c0ffee", metrics={"accuracy": 0.1 + 0.2},
        description="the first,\nin two lines: äöü",
    )  # fmt: skip
    registry.register(name, run="run-2", metrics={f"m{number}": float(number) for number in range(400)})
    registry.register(name, run="run-3", metrics={"loss": float("-inf")}, by="Mia")
    for number in (1, 2):
        registry.set_stage(name, number, "staging", reason="tried")
        registry.set_stage(name, number, "production", reason="gate passed", by="Mia")
    registry.set_alias(name, "champion", 2, reason="best so far")
    registry.set_alias(name, "champion", 3, reason="better")
    registry.set_alias(name, "old", 1, reason="to compare with")
    registry.delete_alias(name, "old", reason="compared")
    registry.set_stage(name, 3, "production", reason="urgent", force=True)
    registry.rollback(name, reason="too slow")


class RegistryContract:
    """Inherit it as `TestSomething` and bring the fixture `options`, of the registry that `factory` opens.

    `section` is the registry's name in the settings; its options have to be in the environment then.
    """

    factory: str
    section: str
    versions = 100
    """How many versions a mirror that is killed has."""

    @pytest.fixture
    def name(self, request: pytest.FixtureRequest) -> str:
        return model_name(request)

    @pytest.fixture
    def here(self, tmp_path: Path) -> LocalRegistry:
        return LocalRegistry(tmp_path / "registry", clock=Clock(), identity=lambda: "Ada")

    @pytest.fixture
    def there(self, options: Mapping[str, Any]) -> Registry:
        return opened(self.factory, options)

    def test_it_does_what_the_local_registry_does(self, there: Registry, here: LocalRegistry, name: str) -> None:
        live(here, name)
        live(there, name)
        assert there.state(name) == here.state(name)
        assert there.versions(name) == here.versions(name)
        assert there.get(f"{name}@production").version == 2
        assert name in there.models()

    def test_its_rules_are_the_same(self, there: Registry, name: str) -> None:
        there.register(name, run="run-1")
        with pytest.raises(RegistryError, match="may go to experimental or staging"):
            there.set_stage(name, 1, "production", reason="please")
        with pytest.raises(RegistryError, match="has no version 7"):
            there.set_alias(name, "best", 7, reason="please")
        with pytest.raises(RegistryError, match="has no model 'nowhere'"):
            there.get("nowhere@production")
        with pytest.raises(RegistryError, match="has no model 'nowhere'"):
            there.set_alias("nowhere", "best", 1, reason="please")
        assert there.find("nowhere@production") is None
        assert [change.action for change in there.history(name)] == ["register"]

    def test_registries_are_mirrored_both_ways(
        self, there: Registry, here: LocalRegistry, name: str, tmp_path: Path
    ) -> None:
        live(here, name)
        back = LocalRegistry(tmp_path / "back")
        mirror(here, there, name)
        assert there.state(name) == here.state(name)
        assert behind(here, there, name).changes == 0
        there.set_alias(name, "candidate", 3, reason="to be tried")
        mirror(there, back, name)
        assert back.state(name) == there.state(name)
        mirror(back, here, name)
        assert here.state(name) == there.state(name)

    def test_a_mirror_killed_in_the_middle_again_and_again_becomes_equal(
        self, there: Registry, here: LocalRegistry, name: str, options: Mapping[str, Any]
    ) -> None:
        here.change(name, lambda model: _many(model, self.versions), create=True)
        for enough in (self.versions // 7, self.versions * 6 // 10):
            child = multiprocessing.get_context("spawn").Process(
                target=_mirror_to, args=(here.folder, self.factory, dict(options), name)
            )
            child.start()
            while self.progress(there, name) < enough:
                assert child.is_alive()
                time.sleep(0.05)
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            have = there.history(name) if name in there.models() else ()
            assert have == here.history(name)[: len(have)]
            assert len(have) < len(here.history(name))
        mirror(here, there, name)
        assert there.state(name) == here.state(name)

    def progress(self, there: Registry, name: str) -> int:
        """Return how many versions a mirror that goes on has made."""
        return len(there.versions(name)) if name in there.models() else 0

    def test_a_version_without_files_says_where_they_would_be(self, there: Registry, name: str, tmp_path: Path) -> None:
        there.register(name, run="run-1", artifact="model", digest=f"sha256:{'b' * 64}")
        with pytest.raises(RegistryError, match="is nowhere: the store has no object sha256:bbb"):
            obtain(there, f"{name}:1", tmp_path)

    def test_the_gate_reaches_the_same_verdict_with_production_there(
        self, there: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        toy.make_project(tmp_path)
        here = LocalRegistry(tmp_path / ".unitrack/registry")
        mirror(here, there, "toy")
        toy.commit("Worse", LEVEL="0.80")
        assert toy.gate().exit_code == 1
        path = toy.only_verdict(tmp_path)
        local = path.read_bytes()
        (here.folder / "toy.json").unlink()
        path.unlink()
        monkeypatch.setenv("UNITRACK_REGISTRY", self.section)
        result = toy.gate()
        assert result.exit_code == 1, result.output
        assert _without_times(toy.only_verdict(tmp_path).read_bytes()) == _without_times(local)


def _many(model: ModelFile, versions: int) -> ModelFile:
    start = datetime(2026, 3, 1, tzinfo=timezone.utc)
    for number in range(1, versions + 1):
        stamp = changes.Stamp(by="Ada", time=start + timedelta(minutes=number), reason="gate passed")
        model = changes.register(
            model, stamp, run=f"run-{number}", artifact=None, digest=None, commit=None, metrics={"accuracy": 0.5},
            description="",
        )  # fmt: skip
        if number % 20 == 0:
            model = changes.set_alias(model, "champion", number, stamp)
            model = changes.set_stage(model, number, "staging", stamp)
            model = changes.set_stage(model, number, "production", stamp)
    return model


def _mirror_to(folder: Path, factory: str, options: Mapping[str, Any], name: str) -> None:
    mirror(LocalRegistry(folder), opened(factory, options), name)


def _without_times(data: bytes) -> dict[str, Any]:
    return {key: value for key, value in json.loads(data).items() if key not in ("cost", "created")}
