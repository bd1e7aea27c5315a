"""MLflow's registry by unitrack's rules: real MLflow on SQLite and behind its own server."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support import toy
from unitrack import events
from unitrack.errors import ConfigError, RegistryError
from unitrack.registry import LocalRegistry, changes
from unitrack.registry.mirror import behind, mirror
from unitrack.registry.using import obtain
from unitrack_mlflow import MlflowRegistryFactory

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 1, tzinfo=timezone.utc)

    def __call__(self):
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture
def name(request):
    """A model of this test alone: the servers are shared."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:100].strip("-")


@pytest.fixture
def here(tmp_path):
    return LocalRegistry(tmp_path / "registry", clock=Clock(), identity=lambda: "Ada")


def opened(tracker, **options):
    factory = MlflowRegistryFactory()
    registry = factory.open({"tracking_uri": tracker.uri, **options})
    registry._clock, registry._identity = Clock(), lambda: "Ada"
    return registry


def live(registry, name):
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


@pytest.mark.parametrize("stages", [False, True])
def test_it_does_what_the_local_registry_does(tracker, here, name, stages):
    there = opened(tracker, stages=stages)
    live(here, name)
    live(there, name)
    assert there.state(name) == here.state(name)
    assert there.versions(name) == here.versions(name)
    assert there.get(f"{name}@production").version == 2
    assert name in there.models()


def test_its_rules_are_the_same(sqlite_tracker, name):
    there = opened(sqlite_tracker)
    there.register(name, run="run-1")
    with pytest.raises(RegistryError, match="may go to experimental or staging"):
        there.set_stage(name, 1, "production", reason="please")
    with pytest.raises(RegistryError, match="has no version 7"):
        there.set_alias(name, "best", 7, reason="please")
    with pytest.raises(RegistryError, match="has no model 'nowhere'"):
        there.get("nowhere@production")
    assert there.find("nowhere@production") is None


def test_mlflows_own_users_see_aliases_descriptions_and_who_is_in_production(tracker, name):
    live(opened(tracker), name)
    model = tracker.client.get_registered_model(name)
    assert {alias: int(number) for alias, number in model.aliases.items()} == {"champion": 3, "production": 2}
    assert tracker.client.get_model_version(name, "1").description == "the first,\nin two lines: äöü"


def test_servers_of_old_show_stages(sqlite_tracker, name):
    live(opened(sqlite_tracker, stages=True), name)
    stages = [sqlite_tracker.client.get_model_version(name, str(number)).current_stage for number in (1, 2, 3)]
    assert stages == ["Archived", "Production", "Archived"]


def test_what_others_did_in_mlflow_is_history_too(tracker, name):
    """Somebody registers a version, moves aliases and deletes a version without unitrack."""
    there = opened(tracker)
    live(there, name)
    tracker.client.create_model_version(name, "unitrack://elsewhere/model", await_creation_for=0)
    tracker.client.set_registered_model_alias(name, "production", "4")
    tracker.client.set_registered_model_alias(name, "champion", "1")
    tracker.client.delete_model_version(name, "3")
    for _ in range(2):  # what was seen is kept by the next change
        assert there.get(f"{name}@production").version == 4
        assert there.get(f"{name}@champion").version == 1
        assert there.get(f"{name}:2").stage == "retired"
        assert there.get(f"{name}:3").run == "deleted in MLflow"
        assert {"MLflow"} <= {change.by for change in there.history(name)}
        there.set_alias(name, "seen", 1, reason="to keep it")
    assert there.rollback(name, reason="not ours").version == 2
    assert tracker.client.get_model_version_by_alias(name, "production").version in (2, "2")


def test_a_stage_moved_on_an_old_server_is_believed(sqlite_tracker, name):
    there = opened(sqlite_tracker, stages=True)
    live(there, name)
    sqlite_tracker.client.transition_model_version_stage(name, "2", "Archived")
    sqlite_tracker.client.transition_model_version_stage(name, "1", "Production")
    assert there.get(f"{name}@production").version == 1
    assert there.get(f"{name}:2").stage == "retired"


def test_a_model_made_by_others_can_be_promoted(sqlite_tracker, name):
    sqlite_tracker.client.create_registered_model(name)
    sqlite_tracker.client.create_model_version(name, "unitrack://elsewhere/model", await_creation_for=0)
    sqlite_tracker.client.set_registered_model_alias(name, "production", "1")
    there = opened(sqlite_tracker)
    assert there.get(f"{name}@production").version == 1
    assert there.register(name, run="run-2").version == 2
    assert [change.action for change in there.history(name)] == ["register", "stage", "register"]


def test_a_damaged_tag_is_an_error_that_names_it(sqlite_tracker, name):
    there = opened(sqlite_tracker)
    there.register(name, run="run-1")
    sqlite_tracker.client.set_registered_model_tag(name, "unitrack.change.000001", "{")
    with pytest.raises(RegistryError, match=r"the tag unitrack\.change\.000001 is damaged"):
        there.get(name)


def test_a_server_that_is_not_there_is_an_error_in_a_few_seconds(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    there = MlflowRegistryFactory().open({"tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(RegistryError, match=r"MLflow at http://127\.0\.0\.1:9"):
        there.get("digits@production")


def test_a_wrong_option_is_named():
    with pytest.raises(ConfigError, match=r"\[registries.mlflow\] .*`uri`; the options are: tracking_uri"):
        MlflowRegistryFactory().open({"uri": "x"})


# -- mirrors -------------------------------------------------------------------------------------


def test_registries_are_mirrored_both_ways(tracker, here, name, tmp_path):
    live(here, name)
    there, back = opened(tracker), LocalRegistry(tmp_path / "back")
    mirror(here, there, name)
    assert there.state(name) == here.state(name)
    assert behind(here, there, name).changes == 0
    there.set_alias(name, "candidate", 3, reason="to be tried")
    mirror(there, back, name)
    assert back.state(name) == there.state(name)
    mirror(back, here, name)
    assert here.state(name) == there.state(name)


def many(model):
    start = datetime(2026, 3, 1, tzinfo=timezone.utc)
    for number in range(1, 101):
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


def test_a_mirror_killed_in_the_middle_again_and_again_becomes_equal(sqlite_tracker, here, name):
    here.change(name, many, create=True)
    there = opened(sqlite_tracker)
    for enough in (15, 60):
        child = multiprocessing.get_context("spawn").Process(
            target=_mirror_to, args=(here.folder, sqlite_tracker.uri, name)
        )
        child.start()
        while name not in there.models() or len(there.versions(name)) < enough:
            assert child.is_alive()
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert enough <= len(there.versions(name)) < 100
    mirror(here, there, name)
    assert there.state(name) == here.state(name)
    aliases = sqlite_tracker.client.get_registered_model(name).aliases
    assert {alias: int(number) for alias, number in aliases.items()} == {"champion": 100, "production": 100}


def _mirror_to(folder, uri, name):
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    mirror(LocalRegistry(folder), MlflowRegistryFactory().open({"tracking_uri": uri}), name)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("call", "count"),
    [
        ("create_model_version", 1), ("create_model_version", 3), ("set_registered_model_tag", 1),
        ("set_registered_model_tag", 5), ("set_registered_model_tag", 15), ("set_registered_model_alias", 1),
        ("set_registered_model_alias", 2),
    ],
)  # fmt: skip
def test_a_death_at_any_step_leaves_a_beginning_of_the_history(
    sqlite_tracker, here, name, monkeypatch, call, when, count
):
    from mlflow import MlflowClient

    live(here, name)
    there, real, calls = opened(sqlite_tracker), getattr(MlflowClient, call), []

    def dying(*arguments, **named):
        calls.append(call)
        last = len(calls) >= count
        answer = real(*arguments, **named) if when == "after" or not last else None
        if last:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, call, dying)
        mirror(here, there, name)
    if name in there.models():
        whole = here.history(name)
        assert there.history(name) == whole[: len(there.history(name))]
    mirror(here, there, name)
    assert there.state(name) == here.state(name)


# -- files, and the gate -------------------------------------------------------------------------


def sent(tracker, runs, name, data=b"weights"):
    writer = runs.writer("one")
    writer.append(events.Artifact, name="net.pt", kind="model", digest=runs.put(data), size=len(data))
    writer.seal("finished")
    assert runs.send(tracker, options={"register": {"net.pt": name}})[0].dead == 0


def test_a_model_is_downloaded_from_mlflow_and_verified(tracker, runs, name, tmp_path):
    sent(tracker, runs, name)
    there, store = opened(tracker), tmp_path / "elsewhere"
    there.set_stage(name, 1, "staging", reason="tried")
    there.set_alias(name, "production", 1, reason="good")
    store.mkdir()
    found = obtain(there, f"{name}@production", store)
    assert (found.version.run, found.tree, found.size) == ("one", False, 7)
    (kept,) = (path for path in (store / "objects").rglob("*") if path.is_file())
    assert kept.read_bytes() == b"weights"
    assert [path.name for path in store.iterdir()] == ["objects"]  # no scratch folder is left


def test_a_registered_run_that_was_sent_points_at_its_files(tracker, runs, name, tmp_path):
    sent(tracker, runs, f"{name}-by-the-backend")
    there, (model,) = opened(tracker), tracker.models()
    there.register(name, run="one", artifact="net.pt", digest=model.tags["unitrack.digest"])
    assert model.model_id in tracker.client.get_model_version(name, "1").source
    (tmp_path / "elsewhere").mkdir()
    assert obtain(there, f"{name}:1", tmp_path / "elsewhere").size == 7


def test_files_that_somebody_changed_are_refused(sqlite_tracker, runs, name, tmp_path):
    sent(sqlite_tracker, runs, name)
    (model,) = sqlite_tracker.models()
    (file,) = Path(model.artifact_location.removeprefix("file://")).rglob("net.pt")
    file.write_bytes(b"poisons")
    store = tmp_path / "elsewhere"
    store.mkdir()
    with pytest.raises(RegistryError, match="is not what was registered"):
        obtain(opened(sqlite_tracker), f"{name}:1", store)
    assert list(store.iterdir()) == []


def test_a_version_without_files_says_where_they_would_be(sqlite_tracker, name, tmp_path):
    there = opened(sqlite_tracker)
    there.register(name, run="run-1", artifact="model", digest=f"sha256:{'b' * 64}")
    with pytest.raises(RegistryError, match="is nowhere: the store has no object sha256:bbb"):
        obtain(there, f"{name}:1", tmp_path)


def test_the_gate_reaches_the_same_verdict_with_production_in_mlflow(sqlite_tracker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy.make_project(tmp_path)
    here = LocalRegistry(tmp_path / ".unitrack/registry")
    mirror(here, opened(sqlite_tracker), "toy")
    toy.commit("Worse", LEVEL="0.80")
    assert toy.gate().exit_code == 1
    path = toy.only_verdict(tmp_path)
    local = path.read_bytes()
    here._path("toy").unlink()
    path.unlink()
    monkeypatch.setenv("UNITRACK_REGISTRY", "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_tracker.uri)
    assert toy.gate().exit_code == 1
    assert _without_times(path.read_bytes()) == _without_times(local)


def _without_times(data):
    return {key: value for key, value in json.loads(data).items() if key not in ("cost", "created")}
