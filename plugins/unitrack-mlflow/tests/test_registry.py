"""MLflow's registry by unitrack's rules: real MLflow on SQLite and behind its own server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.registry_contract import Clock, RegistryContract, live, model_name
from tests.support.registry_contract import opened as contract_opened
from unitrack import events
from unitrack.errors import ConfigError, RegistryError
from unitrack.registry import LocalRegistry
from unitrack.registry.mirror import mirror
from unitrack.registry.using import obtain
from unitrack_mlflow import MlflowRegistryFactory

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account

FACTORY = "unitrack_mlflow:MlflowRegistryFactory"


@pytest.fixture
def name(request):
    return model_name(request)


@pytest.fixture
def here(tmp_path):
    return LocalRegistry(tmp_path / "registry", clock=Clock(), identity=lambda: "Ada")


def opened(tracker, **options):
    return contract_opened(FACTORY, {"tracking_uri": tracker.uri, **options})


class TestMlflow(RegistryContract):
    factory, section = FACTORY, "mlflow"

    @pytest.fixture
    def options(self, sqlite_tracker, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_tracker.uri)
        return {"tracking_uri": sqlite_tracker.uri}


@pytest.mark.parametrize("stages", [False, True])
def test_it_does_what_the_local_registry_does(tracker, here, name, stages):
    there = opened(tracker, stages=stages)
    live(here, name)
    live(there, name)
    assert there.state(name) == here.state(name)
    assert there.versions(name) == here.versions(name)
    assert there.get(f"{name}@production").version == 2
    assert name in there.models()


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


def test_registries_are_mirrored_through_a_server(tracker, here, name, tmp_path):
    live(here, name)
    there, back = opened(tracker), LocalRegistry(tmp_path / "back")
    mirror(here, there, name)
    mirror(there, back, name)
    assert back.state(name) == there.state(name) == here.state(name)


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
