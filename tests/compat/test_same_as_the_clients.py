"""One script, run with the real client and with its second name, leaves the same behind."""

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from logged import files, points

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the clients' own
    from wandb.util import get_core_path

WANDB = """
    import argparse, os
    import {wandb} as wandb

    args = argparse.Namespace(lr=0.1, layers=[64, 10], optimizer={{"name": "sgd", "momentum": 0.9}})
    run = wandb.init(project="digits", name="first", id="abc123", config=args, tags=["a", "b"], group="folds")
    wandb.define_metric("epoch")
    wandb.define_metric("val/*", step_metric="epoch")
    for epoch in range(3):
        for batch in range(2):
            wandb.log({{"train/loss": 1 / (1 + batch + epoch)}})
        wandb.log({{"val/acc": epoch / 10, "epoch": epoch}}, commit=False)
    wandb.log({{"last": 1}})
    run.log({{"a": 1.0, "nested": {{"b": 2}}}}, step=20)
    run.log({{"c": 3}})
    run.log({{"d": 4}}, step=21, commit=True)
    run.log({{"e": True}})
    wandb.config.epochs = 3
    wandb.config.update({{"lr": 0.2}}, allow_val_change=True)
    wandb.summary["best"] = 0.9
    with open("model.bin", "w") as file:
        file.write("weights")
    artifact = wandb.Artifact("net", type="model", metadata={{"k": 1}})
    artifact.add_file("model.bin")
    with artifact.new_file("notes/readme.txt") as file:
        file.write("hello")
    os.remove("model.bin")
    run.log_artifact(artifact, aliases=["best"])
    print(run.id, run.name, run.project, run.group, run.tags, dict(wandb.config)["epochs"], run.summary["last"])
    wandb.finish()
"""


def wandb_records(folder):
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(log), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_kind(records, kind):
    return [record[kind] for record in records if record["type"] == kind]


def test_wandb_offline_and_its_second_name_keep_the_same(script):
    printed = script.run(WANDB.format(wandb="wandb"), WANDB_MODE="offline", WANDB_SILENT="true").splitlines()
    records = wandb_records(script.folder)
    ours = script.run(WANDB.format(wandb="unitrack.compat.wandb")).splitlines()
    assert ours[0] == printed[0]
    view = script.view()
    (begun,) = of_kind(records, "run")
    assert (view.id, view.name, view.project) == (begun["run_id"], begun["display_name"], begun["project"])
    assert (list(view.tags), view.group) == (begun["tags"], begun["run_group"])
    config = {}
    for update in [begun["config"], *of_kind(records, "config")]:
        config |= {key: value for key, value in update["update"].items() if not key.startswith("_")}
    assert view.params == config
    theirs = {}
    for row in of_kind(records, "history"):
        for name, value in row["item"].items():
            if not name.startswith("_"):
                theirs.setdefault(name, []).append((row["item"]["_step"], value))
    assert points(view) == theirs
    summary = {}
    for update in of_kind(records, "summary"):
        summary |= {key: value for key, value in update["update"].items() if not key.startswith("_")}
    assert view.summary == summary
    (theirs,) = of_kind(records, "artifact")
    (artifact,) = view.artifacts
    assert (artifact.name, artifact.kind, artifact.metadata) == (theirs["name"], theirs["type"], {"k": 1})
    assert set(artifact.aliases) == set(theirs["aliases"])
    assert files(view) == {"net/model.bin": b"weights", "net/notes/readme.txt": b"hello"}
    assert {name for name, metric in view.metrics.items() if metric.step == "epoch"} == {"val/acc"}


MLFLOW = """
    import os
    import {mlflow} as mlflow
    from {mlflow}.tracking import MlflowClient
    from {mlflow}.entities import Metric, Param, RunTag

    mlflow.set_tracking_uri("{uri}")
    mlflow.set_experiment("digits")
    with mlflow.start_run(run_name="outer", tags={{"team": "x"}}, description="why") as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({{"layers": [64, 10], "opt.name": "sgd"}})
        for epoch in range(3):
            mlflow.log_metric("loss", 1 / (1 + epoch), step=epoch)
            mlflow.log_metrics({{"val/acc": epoch / 10, "val/f1": float("nan")}}, step=epoch)
        mlflow.log_metric("late", 5, step=7, timestamp=1700000000123)
        mlflow.set_tag("kind", "test")
        mlflow.set_tags({{"gone": 1, "n": 2}})
        mlflow.delete_tag("gone")
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_dict({{"a": [1, 2]}}, "b.json")
        os.makedirs("out/deep")
        for name in ("x.txt", "deep/y.txt"):
            with open("out/" + name, "w") as file:
                file.write(name)
        mlflow.log_artifacts("out", "folder")
        mlflow.log_artifact("out/x.txt")
        with mlflow.start_run(run_name="inner", nested=True) as inner:
            mlflow.log_metric("m", 1.5, step=1)
        assert mlflow.active_run().info.run_id == run.info.run_id
    assert mlflow.active_run() is None
    client = MlflowClient()
    experiment = client.get_experiment_by_name("digits").experiment_id
    made = client.create_run(experiment, run_name="made")
    client.log_batch(
        made.info.run_id, [Metric("m", 2.0, 1700000001000, 3)], [Param("p", "1")], [RunTag("t", "u")]
    )
    client.set_terminated(made.info.run_id, "FAILED")
    with mlflow.start_run(run_id=made.info.run_id):
        mlflow.log_metric("again", 1, step=0)
    try:
        with mlflow.start_run(run_name="broken"):
            raise RuntimeError("boom")
    except RuntimeError:
        pass
    print(client.get_run(run.info.run_id).data.metrics["loss"])
"""
OWN_TAGS = ("mlflow.user", "mlflow.source.", "mlflow.log-model", "mlflow.runName", "mlflow.parentRunId")


@pytest.mark.parametrize("way", ["second name", "tracking store"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own
def test_mlflow_on_sqlite_and_what_unitrack_keeps_of_it_are_the_same(script, way, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    printed = script.run(MLFLOW.format(mlflow="mlflow", uri=uri))
    shutil.rmtree(script.folder / "out")
    ours = {"second name": "unitrack.compat.mlflow", "tracking store": "mlflow"}[way]
    assert printed == script.run(MLFLOW.format(mlflow=ours, uri="unitrack:"))
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits").experiment_id
    theirs = {run.info.run_name: run for run in client.search_runs([experiment])}
    views = {view.name: view for view in script.views()}
    assert set(views) == set(theirs) == {"outer", "inner", "made", "broken"}
    for name, view in views.items():
        run = theirs[name]
        assert view.project == "digits" and view.status.upper() == run.info.status
        assert {key: str(value) for key, value in view.params.items()} == run.data.params
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith(OWN_TAGS)}
        assert {k: v for k, v in view.tag_values.items() if not k.startswith(OWN_TAGS)} == tags
        assert set(view.metrics) == set(run.data.metrics)
        for metric in view.metrics:
            points = client.get_metric_history(run.info.run_id, metric)
            series = view.series(metric)
            assert repr(sorted(zip(series.steps, series.values, strict=True))) == repr(
                sorted((float(point.step), point.value) for point in points)
            )
        assert files(view) == downloaded(client, run.info.run_id, tmp_path / f"{name}")
    parents = {run.info.run_id: run.info.run_name for run in theirs.values()}
    assert views["inner"].parent == views["outer"].id
    assert parents[theirs["inner"].data.tags["mlflow.parentRunId"]] == "outer"
    assert [view.name for view in views.values() if view.parent] == ["inner"]
    assert round(views["outer"].series("late").times[0] * 1000) == 1700000000123
    assert round(views["made"].series("m").times[0] * 1000) == 1700000001000


def downloaded(client, run_id, folder):
    folder.mkdir()
    root = Path(client.download_artifacts(run_id, "", str(folder)))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


SCALE = """
    import datetime
    from {neptune_scale} import Run

    if __name__ == "__main__":
        run = Run(run_id="r1", experiment_name="first", project="w/digits", mode="offline")
        run.log_configs({{"lr": 0.1, "opt/name": "sgd", "epochs": 3}})
        for step in range(3):
            run.log_metrics({{"loss": 1 / (1 + step), "val/acc": step / 10}}, step=step)
        run.log_metrics({{"half": 2.0}}, step=2.5, timestamp=datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))
        run.add_tags(["a", "b", "c"])
        run.remove_tags(["c"])
        run.log_string_series({{"said": "hello"}}, step=1)
        with open("m.bin", "w") as file:
            file.write("weights")
        run.assign_files({{"model": "m.bin"}})
        run.close()
"""


def test_neptune_scale_offline_and_its_second_name_keep_the_same(script):
    script.run(SCALE.format(neptune_scale="neptune_scale"))
    script.run(SCALE.format(neptune_scale="unitrack.compat.neptune_scale"))
    (database,) = script.folder.glob(".neptune/*/run_operations.sqlite3")
    series, fields, tags, times = scale_operations(database)
    view = script.view()
    assert view.id == "r1" and view.name == "first" and view.project == "w/digits"
    assert view.params == {
        name: value for name, value in fields.items() if not name.startswith(("sys/", "source_code", "model"))
    }
    assert points(view) == {name: values for name, values in series.items() if name != "said"}
    assert [(m.name, m.step, m.inline) for m in view.media] == [("said", *series["said"][0])]
    assert set(view.tags) == tags == {"a", "b"}
    assert view.series("half").times[0] == times["half"]
    assert files(view) == {"model": b"weights"}


def scale_operations(database):
    """Read a database of neptune-scale's with the client's own class and protobufs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client's own
        from neptune_scale.sync.operations_repository import OperationsRepository

    repository = OperationsRepository(db_path=database)
    series, fields, tags, times = {}, {}, set(), {}
    try:
        for one in repository.get_operations(up_to_bytes=16 << 20):
            if one.operation_type == 1:
                continue
            update = one.operation
            step = update.step.whole + update.step.micro / 1e6
            for name, value in update.assign.items():
                fields[name] = getattr(value, value.WhichOneof("value"))
            for name, value in update.append.items():
                series.setdefault(name, []).append((step, getattr(value, value.WhichOneof("value"))))
                times[name] = update.timestamp.ToMicroseconds() / 1e6
            for name, change in update.modify_sets.items():
                if name == "sys/tags":
                    tags |= {word for word, how in change.string.values.items() if how == 1}
                    tags -= {word for word, how in change.string.values.items() if how == 2}
    finally:
        repository.close(cleanup_files=False)
    return series, fields, tags, times


NEPTUNE = """
    import {neptune} as neptune
    from {neptune}.types import File
    from {neptune}.utils import stringify_unsupported

    run = neptune.init_run(project="w/digits", mode="offline", tags=["a"], capture_stdout=False, capture_stderr=False,
                           capture_hardware_metrics=False, git_ref=False, source_files=[])
    run["parameters"] = {{"lr": 0.1, "opt": {{"name": "sgd"}}, "epochs": 3}}
    run["eval/f1"] = 0.5
    run["flag"] = True
    for step in range(3):
        run["train/loss"].append(1 / (1 + step), step=step)
        run["val"].append({{"acc": step / 10}}, step=step / 2)
    run["many"].extend([1.0, 2.0], steps=[3, 4], timestamps=[1700000000.5, 1700000001.5])
    run["said"].append("hello", step=1)
    run["sys/tags"].add(["b", "c"])
    run["sys/tags"].remove("c")
    with open("m.bin", "w") as file:
        file.write("weights")
    run["model/weights"].upload("m.bin")
    run.stop()
"""


def test_neptune_offline_and_its_second_name_keep_the_same(script):
    script.run(NEPTUNE.format(neptune="neptune"))
    script.run(NEPTUNE.format(neptune="unitrack.compat.neptune"))
    (queue,) = script.folder.glob(".neptune/offline/run__*/")
    fields, series, times, tags, uploads = legacy_operations(queue)
    view = script.view()
    flat = {"parameters/lr": 0.1, "parameters/opt/name": "sgd", "parameters/epochs": 3, "eval/f1": 0.5, "flag": True}
    assert view.params == {
        "parameters": {"lr": 0.1, "opt": {"name": "sgd"}, "epochs": 3}, "eval": {"f1": 0.5}, "flag": True,
    }  # fmt: skip
    assert {name: value for name, value in fields.items() if name in flat} == flat
    said = series.pop("said")
    assert points(view) == {name: values for name, values in series.items() if not name.startswith("monitoring")}
    assert [(m.name, m.step, m.inline) for m in view.media] == [("said", *said[0])]
    assert list(view.series("many").times) == times["many"]
    assert set(view.tags) == tags == {"a", "b"}
    assert files(view) == {"model/weights.bin": b"weights"} and uploads == ["model/weights"]


def legacy_operations(folder):
    """Read a folder of neptune 1.x's with the client's own queue and operations."""
    import threading

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client's own
        from neptune.core.components.queue.disk_queue import DiskQueue
        from neptune.internal.operation import Operation

    queue = DiskQueue(folder, lambda op: op.to_dict(), Operation.from_dict, threading.RLock())
    fields, series, times, tags, uploads = {}, {}, {}, set(), []
    try:
        while batch := queue.get_batch(1000):
            for element in batch:
                op, path, kind = element.obj, "/".join(element.obj.path), type(element.obj).__name__
                if kind in ("LogFloats", "LogStrings"):
                    series.setdefault(path, []).extend((value.step, value.value) for value in op.values)
                    times.setdefault(path, []).extend(value.ts for value in op.values)
                elif kind == "AddStrings" and path == "sys/tags":
                    tags |= set(op.values)
                elif kind == "RemoveStrings" and path == "sys/tags":
                    tags -= set(op.values)
                elif kind == "UploadFile":
                    uploads.append(path)
                elif hasattr(op, "value"):
                    fields[path] = op.value
    finally:
        queue.close()
    return fields, series, times, tags, uploads
