"""MLflow itself over a unitrack store, by its own entry points: no import changed, no server."""

import json
import math
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import pytest

import unitrack
from unitrack.errors import UsageError
from unitrack.journal.layout import objects_dir
from unitrack.objects import ObjectStore

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag, ViewType
    from mlflow.exceptions import MlflowException

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of a store of its own, in a process that captures nothing of its surroundings."""
    monkeypatch.setenv("UNITRACK_CAPTURE", "")
    monkeypatch.setattr(os, "environ", os.environ)
    yield MlflowClient(f"unitrack://{tmp_path}/store")
    for run in unitrack.runs(dir=tmp_path / "store", status="running"):
        client = MlflowClient(f"unitrack://{tmp_path}/store")
        client.set_terminated(run.id)
    while (left := open_run()) is not None:  # what was logged after an end has a writer of its own
        left.finish()


def open_run():
    try:
        return unitrack.current()
    except UsageError:
        return None


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def train(folder, code, **environment):
    """Run a script that calls MLflow; return what it printed."""
    surroundings = {
        **os.environ, "UNITRACK_CAPTURE": "", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": "unitrack:",
        "GIT_PYTHON_REFRESH": "quiet", **environment,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], cwd=folder, env=surroundings, check=False,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- runs ----------------------------------------------------------------------------------------


def test_a_run_is_unitracks_with_the_same_id(client, store):
    run = client.create_run("digits", run_name="first", tags={"k": "v"}, start_time=1700000000000)
    assert (run.info.experiment_id, run.info.run_name, run.info.status) == ("digits", "first", "RUNNING")
    assert run.info.start_time == 1700000000000
    client.set_terminated(run.info.run_id, "FAILED", end_time=1700000009000)
    view = unitrack.get_run(run.info.run_id, dir=store)
    assert (view.project, view.name, view.status, view.tag_values) == ("digits", "first", "failed", {"k": "v"})
    read = client.get_run(run.info.run_id)
    assert (read.info.status, read.info.end_time) == ("FAILED", 1700000009000)
    assert read.data.tags == {"k": "v", "mlflow.runName": "first"}


def test_points_keep_their_steps_times_and_values(client, store):
    run = client.create_run("p").info.run_id
    points = [
        Metric("a", 1.0, 1700000000001, 5), Metric("b", 2.0, 1700000000001, 5), Metric("a", math.nan, 1700000000002, 3),
        Metric("a", math.inf, 1700000000999, -1), Metric("a", 7.0, 1700000000999, -1), Metric("mAP@50", 1, 0, 2**40),
    ]  # fmt: skip
    client.log_batch(run, points)
    for name in ("a", "b", "mAP@50"):
        expected = [(m.value, m.timestamp, m.step) for m in points if m.key == name]
        found = [(m.value, m.timestamp, m.step) for m in client.get_metric_history(run, name)]
        assert repr(found) == repr([(float(value), stamp, step) for value, stamp, step in expected])
    # The first two came together: one event, one write.
    assert len(unitrack.get_run(run, dir=store).history()) == 5
    # As MLflow has it the latest is the one of the highest step.
    assert client.get_run(run).data.metrics["a"] == 1.0
    assert client.get_metric_history(run, "none") == []


def test_every_millisecond_comes_back(client):
    run = client.create_run("p").info.run_id
    stamps = [1795636770000 + step for step in range(1000)]
    client.log_batch(run, [Metric("m", 1, stamp, step) for step, stamp in enumerate(stamps)])
    assert [point.timestamp for point in client.get_metric_history(run, "m")] == stamps


def test_params_are_set_once(client):
    run = client.create_run("p").info.run_id
    client.log_batch(run, params=[Param("a", "1"), Param("deep/b", "x" * 9000)])
    client.log_param(run, "a", 1)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run, "a", 2)
    client.set_terminated(run)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run, "a", 3)
    assert client.get_run(run).data.params == {"a": "1", "deep/b": "x" * 9000}


def test_tags_change_and_go(client, store):
    run = client.create_run("p").info.run_id
    client.log_batch(run, tags=[RunTag("a", "1"), RunTag("b", "2")])
    client.set_tag(run, "a", "3")
    client.delete_tag(run, "b")
    client.set_tag(run, "mlflow.runName", "later")
    client.update_run(run, name="latest")
    read = client.get_run(run)
    assert read.data.tags == {"a": "3", "mlflow.runName": "latest"} and read.info.run_name == "latest"
    assert unitrack.get_run(run, dir=store).name == "latest"


def test_only_a_named_parent_makes_a_run_a_part(client, store):
    first = client.create_run("p").info.run_id
    second = client.create_run("p").info.run_id
    child = client.create_run("p", tags={"mlflow.parentRunId": first}).info.run_id
    assert unitrack.get_run(second, dir=store).parent is None
    assert unitrack.get_run(child, dir=store).parent == first
    assert client.get_run(child).data.tags["mlflow.parentRunId"] == first
    assert client.get_parent_run(child).info.run_id == first


def test_what_is_logged_after_the_end_is_kept_and_the_run_stays_ended(client, store):
    run = client.create_run("p").info.run_id
    client.set_terminated(run)
    client.log_metric(run, "late", 1)
    assert client.get_run(run).info.status == "FINISHED" and client.get_run(run).data.metrics == {"late": 1.0}
    client.update_run(run, status="RUNNING")
    assert client.get_run(run).info.status == "RUNNING" and client.get_run(run).info.end_time is None
    client.set_terminated(run, "KILLED")
    assert unitrack.get_run(run, dir=store).status == "killed"
    assert open_run() is None


def test_threads_log_into_runs_at_once(client):
    runs = [client.create_run("p").info.run_id for _ in range(3)]

    def work(thread):
        for step in range(30):
            client.log_batch(runs[step % 3], [Metric(f"m{thread}", step, step, step)])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, run in enumerate(runs):
        for thread in range(4):
            steps = [point.step for point in client.get_metric_history(run, f"m{thread}")]
            assert steps == list(range(number, 30, 3))


def test_a_run_that_is_not_there_is_mlflows_own_error(client):
    with pytest.raises(MlflowException, match="not found") as raised:
        client.get_run("unknown")
    assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(MlflowException, match="names a host"):
        MlflowClient("unitrack://host/path").create_run("p")


# -- looking for runs ----------------------------------------------------------------------------


def test_runs_are_found_by_mlflows_own_filters(client):
    for number in range(5):
        run = client.create_run("p", run_name=f"n{number}", tags={"even": str(number % 2 == 0)}).info.run_id
        client.log_metric(run, "m", number)
        client.log_param(run, "p", f"x{number}")
        client.set_terminated(run, "FINISHED" if number < 4 else "FAILED")
    client.set_terminated(client.create_run("other").info.run_id)

    def names(text, **options):
        return [run.info.run_name for run in client.search_runs(["p"], text, **options)]

    assert names("metrics.m >= 2 and tags.even = 'True'", order_by=["metrics.m DESC"]) == ["n4", "n2"]
    assert names("params.p LIKE 'x%' and attributes.status = 'FAILED'") == ["n4"]
    assert names("", order_by=["metrics.m ASC"], max_results=2) == ["n0", "n1"]
    page = client.search_runs(["p"], "", max_results=3, order_by=["metrics.m ASC"])
    rest = client.search_runs(["p"], "", max_results=3, order_by=["metrics.m ASC"], page_token=page.token)
    assert [run.info.run_name for run in [*page, *rest]] == ["n0", "n1", "n2", "n3", "n4"]
    assert client.search_runs(["p"], "", run_view_type=ViewType.DELETED_ONLY) == []
    assert client.search_runs([], "") == []


def test_experiments_are_projects(client, tmp_path, monkeypatch):
    assert client.get_experiment_by_name("p") is None
    assert client.create_experiment("p") == "p" == client.get_experiment_by_name("p").experiment_id
    client.set_terminated(client.create_run("q").info.run_id)
    assert {experiment.name for experiment in client.search_experiments()} == {"p", "q"}
    assert [each.name for each in client.search_experiments(filter_string="name LIKE 'q%'")] == ["q"]
    monkeypatch.setenv("UNITRACK_PROJECT", "mine")
    run = client.create_run("0")
    assert run.info.experiment_id == "mine" and client.get_experiment("0").name == "mine"


# -- files ---------------------------------------------------------------------------------------


def test_files_are_objects_and_come_back(client, store, tmp_path):
    run = client.create_run("p").info.run_id
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep/b.txt").write_text("b")
    client.log_artifacts(run, str(folder), "under")
    client.log_artifact(run, str(folder / "a.txt"))
    client.log_text(run, "one", "c/x.txt")
    client.log_text(run, "two", "c/x.txt")
    assert [(each.path, each.is_dir, each.file_size) for each in client.list_artifacts(run)] == [
        ("a.txt", False, 1), ("c", True, None), ("under", True, None),
    ]  # fmt: skip
    assert [each.path for each in client.list_artifacts(run, "under/deep")] == ["under/deep/b.txt"]
    assert client.list_artifacts(run, "a.txt") == [] == client.list_artifacts(run, "nowhere")
    got = Path(client.download_artifacts(run, "under", str(tmp_path)))
    assert (got / "a.txt").read_text() == "a" and (got / "deep/b.txt").read_text() == "b"
    assert Path(client.download_artifacts(run, "c/x.txt")).read_text() == "two"
    with pytest.raises(MlflowException, match="Failed to download"):
        client.download_artifacts(run, "c/none.txt")
    with pytest.raises(MlflowException):
        client.log_artifact(run, str(folder / "a.txt"), "../out")
    view = unitrack.get_run(run, dir=store)
    assert [each.name for each in view.artifacts] == ["under/a.txt", "under/deep/b.txt", "a.txt", "c/x.txt", "c/x.txt"]


def test_bytes_that_are_not_what_was_logged_are_not_handed_out(client, store):
    run = client.create_run("p").info.run_id
    client.log_text(run, "whole", "x.txt")
    (artifact,) = unitrack.get_run(run, dir=store).artifacts
    path = ObjectStore(objects_dir(store)).get(artifact.digest)
    path.chmod(0o600)
    path.write_text("other")
    with pytest.raises(MlflowException, match="Failed to download"):
        client.download_artifacts(run, "x.txt")


# -- what MLflow does by itself ------------------------------------------------------------------

AUTOLOG = """
    import mlflow, numpy
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    mlflow.set_experiment("iris")
    mlflow.sklearn.autolog()
    data, target = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=300).fit(data, target)
    run = mlflow.last_active_run()
    score = model.score(data, target)  # logged after the run has ended
    (output,) = run.outputs.model_outputs
    for uri in (f"runs:/{run.info.run_id}/model", f"models:/{output.model_id}"):
        again = mlflow.sklearn.load_model(uri)
        assert (again.predict(data) == model.predict(data)).all()
        mlflow.pyfunc.load_model(uri).predict(data)
    assert mlflow.search_logged_models(experiment_ids=["iris"], output_format="list")[0].model_id == output.model_id
    print(run.info.run_id, output.model_id)
"""


@pytest.fixture(scope="module")
def autologged(tmp_path_factory):
    """A folder in which scikit-learn was trained under autologging, the run's id and its model's."""
    folder = tmp_path_factory.mktemp("autologged")
    run_id, model_id = train(folder, AUTOLOG).split()[-2:]
    return folder, run_id, model_id


def test_autologging_of_scikit_learn_is_a_run(autologged):
    folder, run_id, model_id = autologged
    view = unitrack.get_run(run_id, dir=folder / ".unitrack")
    assert view.status == "finished" and view.project == "iris" and view.params["max_iter"] == "300"
    assert view.metrics["training_score"].last > 0.9 and view.metrics["LogisticRegression_score_data"].count == 1
    names = {artifact.name: artifact for artifact in view.artifacts}
    assert names["model"].kind == "model" and names["model"].metadata == {"mlflow.model_id": model_id}
    assert {"training_confusion_matrix.png", "estimator.html"} <= set(names)
    used = {(each.split, each.metadata["source_type"]) for each in view.datasets}
    assert used == {("train", "code"), ("eval", "code")}
    assert view.captures["mlflow.models"][model_id]["status"] == "READY"


def test_an_autologged_model_can_be_registered(autologged):
    folder, run_id, _ = autologged
    subprocess.run(
        [sys.executable, "-m", "unitrack", "models", "register", "iris", "--run", run_id, "--artifact", "model"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    with unitrack.init("reader", dir=folder / ".unitrack") as run:
        assert (run.use_model("iris:1") / "MLmodel").is_file()


def test_such_a_run_is_sent_to_mlflow_like_any_other(autologged):
    folder, run_id, _ = autologged
    uri = f"sqlite:///{folder}/mlflow.db"
    (folder / "unitrack.toml").write_text(f'[backends.mlflow]\ntracking_uri = "{uri}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "unitrack", "sync", run_id], cwd=folder, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("iris").experiment_id
    (run,) = client.search_runs([experiment])
    view = unitrack.get_run(run_id, dir=folder / ".unitrack")
    assert run.data.params == view.params and run.info.status == "FINISHED"
    assert run.data.metrics == {name: metric.last for name, metric in view.metrics.items()}
    (model,) = client.search_logged_models([experiment])
    assert {one.model_id for one in run.outputs.model_outputs} == {model.model_id}
    assert (Path(model.artifact_location.removeprefix("file://")) / "MLmodel").is_file()


def test_a_model_logged_outside_of_any_run_gets_one(tmp_path):
    model_id = train(
        tmp_path,
        """
        import mlflow
        from sklearn.linear_model import LinearRegression

        model = LinearRegression().fit([[0], [1]], [0, 1])
        info = mlflow.sklearn.log_model(model, name="line", pip_requirements=["scikit-learn"])
        mlflow.end_run()
        assert mlflow.sklearn.load_model(info.model_uri).predict([[3]])[0] > 2.9
        print(info.model_id)
        """,
    ).split()[-1]
    (view,) = unitrack.runs(dir=tmp_path / ".unitrack")
    assert view.status == "finished" and model_id in view.captures["mlflow.models"]
    assert [(each.name, each.kind) for each in view.artifacts] == [("line", "model")]


def test_sigkill_loses_nothing_that_mlflow_was_told(tmp_path):
    code = """
        import mlflow, os, signal
        with mlflow.start_run():
            for step in range(50):
                mlflow.log_metric("m", step, step=step)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    with pytest.raises(AssertionError):
        train(tmp_path, code)
    (view,) = unitrack.runs(dir=tmp_path / ".unitrack")
    assert view.status == "killed" and list(view.series("m").values) == list(range(50))


def test_nested_runs_and_data_come_back_as_mlflows(tmp_path):
    printed = train(
        tmp_path,
        """
        import json, mlflow, os, pandas
        frame = pandas.DataFrame({"a": [1, 2]})
        with mlflow.start_run() as outer:
            mlflow.log_input(mlflow.data.from_pandas(frame, source="https://host/a.csv", name="frame"), context="train")
            with mlflow.start_run(nested=True) as inner:
                mlflow.log_metric("m", 1)
            if (child := os.fork()) == 0:
                mlflow.log_metric("forked", 1, run_id=outer.info.run_id)
                os._exit(0)
            os.waitpid(child, 0)
            mlflow.log_table({"x": [1]}, "rows.json")
            mlflow.log_table({"x": [2]}, "rows.json")
        read = mlflow.get_run(outer.info.run_id)
        (used,) = read.inputs.dataset_inputs
        children = mlflow.MlflowClient().search_runs(["0"], f"tags.mlflow.parentRunId = '{outer.info.run_id}'")
        print(json.dumps([used.dataset.name, used.dataset.source_type, used.tags[0].value,
                          [each.info.run_id for each in children] == [inner.info.run_id],
                          len(mlflow.load_table("rows.json", [outer.info.run_id])), read.data.metrics]))
        """,
    )
    assert json.loads(printed.splitlines()[-1]) == ["frame", "http", "train", True, 2, {"forked": 1.0}]


# -- what a journal can't do ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda client, run: client.delete_run(run),
        lambda client, run: client.restore_run(run),
        lambda client, run: client.delete_experiment("p"),
        lambda client, run: client.rename_experiment("p", "q"),
        lambda client, run: client.set_experiment_tag("p", "a", "b"),
        lambda client, run: client.create_experiment("q", tags={"a": "b"}),
        lambda client, run: client.search_traces(locations=["p"]),
        lambda client, run: client.create_registered_model("m"),
    ],
)
def test_what_a_journal_cant_do_is_an_error_that_says_so(client, use):
    run = client.create_run("p").info.run_id
    with pytest.raises(MlflowException, match="a unitrack store"):
        use(client, run)


def test_mlflow_finds_the_store_without_importing_anything_heavy():
    code = (
        "import sys, unitrack_mlflow._store_entry; "
        "print([m for m in ('mlflow', 'unitrack.session', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "mlflow" not in done.stdout and "numpy" not in done.stdout
