"""The examples do what they say, as they are."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unitrack

EXAMPLES = Path(__file__).parent.parent / "examples"


def train(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1].rstrip(":")


@pytest.fixture
def example(tmp_path):
    def copy(name):
        return Path(shutil.copytree(EXAMPLES / name, tmp_path / name))

    return copy


def test_digits_logs_all_that_a_reviewer_would_ask_for(example):
    folder = example("digits")
    view = unitrack.get_run(train(folder, "--seed", "3", "--epochs", "4"), dir=folder / ".unitrack")
    assert view.status == "finished" and view.params == {"seed": 3, "epochs": 4, "hidden": 64, "learning_rate": 0.02}
    assert list(view.series("val/accuracy").steps) == [0, 1, 2, 3]
    assert [(m.name, m.kind) for m in view.media] == [("confusion", "figure")]
    made = {a.kind: a.name for a in view.artifacts}
    assert made["model"] == "model.pkl" and made["source"] == "source/source/train.py"
    assert {a.name for a in view.artifacts if a.kind == "dataset"} == {
        "data/digits-train.npy",
        "data/digits-validation.npy",
    }
    assert {d.split for d in view.datasets} == {"train", "validation"} and all(d.digest for d in view.datasets)


def test_digits_with_one_seed_gives_the_same_numbers_twice(example):
    folder = example("digits")
    first, second = (
        unitrack.get_run(train(folder, "--seed", "1", "--epochs", "2"), dir=folder / ".unitrack") for _ in range(2)
    )
    assert list(first.series("val/loss").values) == list(second.series("val/loss").values)
    assert [d.digest for d in first.datasets] == [d.digest for d in second.datasets]


def test_the_plain_loop_needs_no_machine_learning_package(example):
    folder = example("plain_loop")
    code = "import runpy, sys; runpy.run_path('train.py', run_name='__main__'); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=60)
    (view,) = unitrack.runs(dir=folder / ".unitrack")
    assert view.summary["loss"] < 0.02 and view.summary["equation"].startswith("y = ")


def test_many_processes_make_one_run(example):
    folder = example("many_processes")
    view = unitrack.get_run(train(folder), dir=folder / ".unitrack")
    assert len(view.writers) == 5 and all(writer.sealed for writer in view.writers)
    assert {name: info.count for name, info in view.metrics.items()} == {f"worker-{n}/reward": 100 for n in range(4)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy
def test_a_tracker_is_switched_on_by_configuration_alone(example):
    folder = example("switch_backends")
    before = (folder / "train.py").read_bytes()
    first = train(folder)
    shutil.copy(folder / "with-mlflow.toml", folder / "unitrack.toml")
    second = train(folder)
    assert (folder / "train.py").read_bytes() == before
    # The dispatcher that init() started beside training sends the second run by itself.
    cursor, deadline = folder / ".unitrack" / "runs" / second / "sync" / "mlflow.json", time.monotonic() + 90
    while not (cursor.exists() and json.loads(cursor.read_bytes()).get("told") == "finished"):
        log = folder / ".unitrack" / "runs" / second / "sync" / "dispatcher.log"
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no dispatcher started"
        time.sleep(0.2)
    # And `unitrack sync` sends the first, which was made before any tracker was configured.
    subprocess.run([sys.executable, "-m", "unitrack", "sync"], cwd=folder, check=True, timeout=120)
    os.environ["MLFLOW_ENABLE_TELEMETRY"] = "false"
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = {
        run.data.tags["unitrack.run_id"]: run
        for run in client.search_runs(experiments)
        if "unitrack.run_id" in run.data.tags
    }
    assert set(runs) == {first, second}
    for run in runs.values():
        assert run.info.status == "FINISHED" and run.data.params["learning_rate"] == "0.3"
        assert len(client.get_metric_history(run.info.run_id, "loss")) == 30


def test_the_demo_passes_the_good_candidate_and_fails_the_bad_one(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "digits" / "demo.py"), str(tmp_path / "demo")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = [
        json.loads(path.read_text())["outcome"] for path in (tmp_path / "demo").glob(".unitrack/gate/*/verdict.json")
    ]
    assert sorted(outcomes) == ["fail", "pass"]
    assert "FAIL" in done.stdout and "PASS" in done.stdout and str(tmp_path / "demo") in done.stdout.splitlines()[-1]
