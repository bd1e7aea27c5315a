"""Artifacts of kind `model` in MLflow 3: logged models, and versions of registered models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unitrack import events
from unitrack_mlflow._models import alias_for, model_name

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and what it imports warn on their own account


def write(runs, data=b"weights", run_id="one", **fields):
    writer = runs.writer(run_id)
    fields = {"name": "net/w.pt", "aliases": ["best one", "latest"], "metadata": {"acc": 0.9}, **fields}
    writer.append(events.Artifact, kind="model", digest=runs.put(data), size=len(data), **fields)
    writer.seal("finished")


def test_a_model_is_a_logged_model_with_its_files_and_an_output_of_the_run(tracker, runs, tmp_path):
    write(runs)
    assert runs.send(tracker)[0].dead == 0
    (model,) = tracker.models()
    run = tracker.run("one")
    assert (model.name, str(model.status), model.source_run_id) == ("net-w-pt", "READY", run.info.run_id)
    assert model.tags["unitrack.artifact"] == "net/w.pt"
    assert json.loads(model.tags["unitrack.metadata"]) == {"acc": 0.9}
    assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]
    local = tracker.client.download_artifacts(run.info.run_id, "net/w.pt", str(tmp_path))
    assert Path(local).read_bytes() == b"weights"
    import mlflow

    mlflow.set_tracking_uri(tracker.uri)
    folder = mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(tmp_path / "model"))
    assert Path(folder, "w.pt").read_bytes() == b"weights"


def test_a_model_that_is_sent_again_is_one_model(sqlite_tracker, runs):
    write(runs)
    runs.send(sqlite_tracker)
    tracker_run = sqlite_tracker.run("one").info.run_id
    runs.forget()
    sqlite_tracker.client.delete_tag(tracker_run, "unitrack.artifact.net/w.pt")  # a kill before the tag was written
    runs.send(sqlite_tracker)
    assert len(sqlite_tracker.models()) == 1
    assert len(sqlite_tracker.run("one").outputs.model_outputs) == 1


def test_a_model_that_was_left_half_done_is_completed(sqlite_tracker, runs, monkeypatch):
    """The worker dies between the model's making and its files."""
    import mlflow

    write(runs)
    whole = mlflow.MlflowClient.log_model_artifacts

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", dies)
    with pytest.raises(KeyboardInterrupt):
        runs.send(sqlite_tracker)
    assert str(sqlite_tracker.models()[0].status) == "PENDING"
    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", whole)
    runs.send(sqlite_tracker)
    assert [str(model.status) for model in sqlite_tracker.models()] == ["READY"]


def test_a_folder_is_a_model_with_all_its_files(sqlite_tracker, runs, tmp_path):
    files = [{"path": "a/w.bin", "digest": runs.put(b"w"), "size": 1}]
    write(runs, json.dumps({"version": 1, "files": files}).encode(), tree=True, name="net")
    runs.send(sqlite_tracker)
    import mlflow

    mlflow.set_tracking_uri(sqlite_tracker.uri)
    (model,) = sqlite_tracker.models()
    folder = mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(tmp_path / "model"))
    assert Path(folder, "a", "w.bin").read_bytes() == b"w"


def test_the_same_digest_is_one_version_with_its_aliases(tracker, runs, request):
    """Two runs log the same model, a third another; each is registered once, however often it is sent."""
    name = f"shop {request.node.name}"
    options = {"register": {"net/w.pt": name}}
    write(runs, run_id="one")
    write(runs, run_id="two")
    write(runs, b"other", run_id="three")
    runs.send(tracker, options=options)
    assert ("alias", "latest") in runs.lowered
    runs.forget()
    runs.send(tracker, options=options)
    versions = tracker.client.search_model_versions(f"name = '{name}'")
    assert len(versions) == 2
    assert len({version.tags["unitrack.digest"] for version in versions}) == 2
    known = tracker.client.get_registered_model(name)
    assert set(known.aliases) == {"best-one", "latest-alias"}


def test_nothing_is_registered_unless_it_is_wished(sqlite_tracker, runs):
    write(runs, name="quiet")
    write(runs, name="loud", run_id="two")
    runs.send(sqlite_tracker, options={"register": {"loud": "chosen-name"}})
    registered = {model.name for model in sqlite_tracker.client.search_registered_models()}
    assert "chosen-name" in registered
    assert "quiet" not in registered
    write(runs, name="every/one", run_id="three")
    runs.send(sqlite_tracker, options={"register": True})
    assert "every-one" in {model.name for model in sqlite_tracker.client.search_registered_models()}


@pytest.mark.parametrize(
    ("alias", "word"), [("production", "production"), ("v1", "v1-alias"), ("LATEST", "LATEST-alias"), ("é/x", "--x")]
)
def test_aliases_are_what_mlflow_takes(alias, word):
    assert alias_for(alias) == word
    assert len(alias_for("x" * 300)) == 255


def test_names_are_what_mlflow_takes():
    assert model_name("a/b:c.d%e'f\"g") == "a-b-c-d-e-f-g"
