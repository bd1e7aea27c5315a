"""`unitrack.compat.mlflow`: what scripts written for MLflow rely on, and what is refused."""

import threading
from pathlib import Path

import numpy as np
import pytest
from logged import files, points

import unitrack
import unitrack.compat.mlflow as mlflow
from unitrack.compat import UnsupportedError
from unitrack.compat.mlflow._state import State, state

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(autouse=True)
def fresh():
    """No experiment, address or run of another test."""
    state.__dict__.update(State().__dict__)


def view_of(run):
    return unitrack.get_run(run.info.run_id)


def test_logging_without_a_run_begins_one():
    mlflow.log_metric("a", 1)
    run = mlflow.active_run()
    mlflow.end_run("KILLED")
    assert view_of(run).status == "killed" and mlflow.active_run() is None
    mlflow.end_run()  # a second one does nothing, as in MLflow


def test_a_metric_keeps_the_step_and_time_it_is_given():
    with mlflow.start_run() as run:
        mlflow.log_metric("a", 1)
        mlflow.log_metrics({"a": 2, "b": np.float32(0.5)}, step=2.5, timestamp=1700000000123)
        mlflow.log_metric("a", float("inf"), step=-1)
    view = view_of(run)
    assert points(view) == {"a": [(None, 1), (2.5, 2), (-1, float("inf"))], "b": [(2.5, 0.5)]}
    assert round(view.series("b").times[0] * 1000) == 1700000000123


def test_params_keep_their_types():
    with mlflow.start_run() as run:
        assert mlflow.log_param("lr", 0.1) == 0.1
        mlflow.log_params({"layers": [1, 2], "none": None})
    assert view_of(run).params == {"lr": 0.1, "layers": [1, 2], "none": None}
    assert run.data.params["lr"] == 0.1 and run.info.experiment_id == view_of(run).project


def test_a_second_run_needs_nested_and_becomes_a_part():
    with mlflow.start_run() as outer:
        with pytest.raises(mlflow.MlflowException, match="nested=True"):
            mlflow.start_run()
        with mlflow.start_run(nested=True) as inner:
            mlflow.log_metric("a", 1)
        mlflow.log_metric("b", 1)
    assert view_of(inner).parent == outer.info.run_id and set(view_of(outer).metrics) == {"b"}
    with mlflow.start_run(parent_run_id=outer.info.run_id) as later:
        pass
    assert view_of(later).parent == outer.info.run_id


def test_each_thread_has_runs_of_its_own():
    runs = []

    def work(number):
        with mlflow.start_run(run_name=f"thread {number}") as run:
            for step in range(20):
                mlflow.log_metric("n", number, step=step)
            runs.append(run)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with mlflow.start_run():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for run in runs:
        view = view_of(run)
        assert view.parent is None and len(view.series("n")) == 20
        assert {f"thread {int(value)}" for value in view.series("n").values} == {view.name}


def test_an_exception_fails_the_run_and_its_id_continues_it():
    with pytest.raises(RuntimeError), mlflow.start_run(run_name="n") as run:
        mlflow.log_param("a", 1)
        raise RuntimeError("boom")
    assert view_of(run).status == "failed"
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_param("b", 2)
    assert view_of(run).params == {"a": 1, "b": 2} and view_of(run).status == "finished"
    with pytest.raises(mlflow.exceptions.MlflowException, match="no run 'unknown'"):
        mlflow.start_run(run_id="unknown")


def test_files_are_kept_under_their_paths():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    Path("folder/deep").mkdir(parents=True)
    Path("folder/deep/a.txt").write_text("a")
    figure = plt.figure()
    with mlflow.start_run() as run:
        mlflow.log_artifact("folder")
        mlflow.log_artifacts("folder", "under")
        mlflow.log_text("hi", "notes/b.txt")
        mlflow.log_dict({"a": np.int64(1)}, "c.json")
        mlflow.log_figure(figure, "plots/d.png")
        mlflow.log_image(np.zeros((2, 2)), "e.png")
        mlflow.log_image(np.zeros((2, 2)), key="shown", step=3)
        mlflow.log_table({"x": [1, 2], "y": ["a", "b"]}, "rows.json")
        with pytest.raises(ValueError, match="there is no file"):
            mlflow.log_artifact("nowhere")
    plt.close(figure)
    kept = files(view_of(run))
    assert set(kept) == {"folder/deep/a.txt", "under/deep/a.txt", "notes/b.txt", "c.json", "plots/d.png", "e.png"}
    assert kept["c.json"] == b'{\n  "a": 1\n}' and kept["plots/d.png"].startswith(b"\x89PNG")
    assert [(m.name, m.kind, m.step) for m in view_of(run).media] == [
        ("shown", "image", 3),
        ("rows.json", "table", None),
    ]


def test_data_is_named_with_its_digest():
    with mlflow.start_run() as run:
        data = mlflow.data.from_numpy(np.zeros((3, 2)), source="https://host/x", name="train")
        mlflow.log_input(data, context="training")
    (used,) = view_of(run).datasets
    assert (used.name, used.split, used.rows, used.metadata) == ("train", "training", 3, {"source": "https://host/x"})
    assert used.digest.startswith("sha256:")


def test_an_address_is_a_warning_that_says_where_it_belongs(tmp_path):
    with pytest.warns(unitrack.UnitrackWarning, match=r"\[backends.mlflow\]"):
        mlflow.set_tracking_uri("http://127.0.0.1:1")
    assert mlflow.get_tracking_uri() == "http://127.0.0.1:1"
    mlflow.set_tracking_uri(f"unitrack://{tmp_path}/else where")
    with mlflow.start_run() as run:
        pass
    assert unitrack.get_run(run.info.run_id, dir=tmp_path / "else where").status == "finished"


def test_experiments_are_projects(monkeypatch):
    assert mlflow.get_experiment_by_name("mine") is None
    mlflow.set_experiment("mine")
    with mlflow.start_run() as run:
        pass
    assert view_of(run).project == "mine" == mlflow.get_experiment_by_name("mine").experiment_id
    fresh_state = State()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert fresh_state.current_project() == "theirs"


def test_the_client_writes_several_runs_at_once():
    client = mlflow.MlflowClient()
    runs = [client.create_run("p", run_name=str(n), tags={"n": str(n)}) for n in range(3)]
    for step in range(3):
        for run in runs:
            client.log_metric(run.info.run_id, "m", step, step=step)
    client.set_terminated(runs[0].info.run_id)
    client.update_run(runs[1].info.run_id, status="FAILED", name="other")
    client.log_param(runs[2].info.run_id, "late", 1)
    views = [view_of(run) for run in runs]
    assert [view.status for view in views] == ["finished", "failed", "running"]
    assert [view.name for view in views] == ["0", "other", "2"] and not any(view.parent for view in views)
    assert all(points(view) == {"m": [(0, 0), (1, 1), (2, 2)]} for view in views)
    assert [point.step for point in client.get_metric_history(runs[0].info.run_id, "m")] == [0, 1, 2]


def test_disabled_mode_takes_all_calls_and_keeps_nothing(monkeypatch):
    monkeypatch.setenv("UNITRACK_MODE", "disabled")
    with mlflow.start_run():
        mlflow.log_param("a", 1)
        mlflow.log_metric("a", 1)
        mlflow.log_text("x", "x.txt")
        assert mlflow.active_run().data.params == {"a": 1}
    assert unitrack.runs() == []


@pytest.mark.parametrize(
    "use",
    [
        lambda: mlflow.autolog(log_models=False),
        lambda: mlflow.sklearn.autolog(log_models=False),
        lambda: mlflow.pytorch.log_model(None, "model"),
        lambda: mlflow.MlflowClient().search_runs(["0"]),
    ],
)
def test_what_needs_mlflow_itself_says_how_to_have_it(use):
    with pytest.raises(UnsupportedError, match=r"set_tracking_uri\('unitrack:'\)"):
        use()


def test_wrong_words_are_refused():
    with pytest.raises(ValueError, match="FINISHED, FAILED or KILLED"):
        mlflow.MlflowClient().set_terminated(mlflow.start_run().info.run_id, "DONE")
    with pytest.raises(TypeError):
        mlflow.log_metric("a", object())
    with pytest.raises(TypeError, match="either artifact_file or key"):
        mlflow.log_image(np.zeros((2, 2)))
