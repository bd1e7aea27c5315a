"""MLflow itself: our example as a Project and as a training command, and its model as one of MLflow's, in its registry."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unitrack

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mlflow_project"
MLFLOW = """
[registries.mlflow]
tracking_uri = "{uri}"

[backends.mlflow]
tracking_uri = "{uri}"
experiment = "flowers"
"""
LOAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/flowers@production")
inputs = [column["name"] for column in model.metadata.signature.inputs.to_dict()]
version = mlflow.MlflowClient().get_model_version_by_alias("flowers", "production")
print(json.dumps({
    "flavors": sorted(model.metadata.flavors), "inputs": inputs,
    "run": mlflow.MlflowClient().get_run(version.run_id).data.tags["unitrack.run_id"],
    "prediction": int(model.predict(model.input_example)[0]),
}))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The example in a repository of its own, with MLflow's command on the path."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # MLflow's own
    project = Path(
        shutil.copytree(EXAMPLE, tmp_path / "flowers", ignore=shutil.ignore_patterns("ml*.db", "mlruns", ".*"))
    )
    monkeypatch.chdir(project)
    (project / ".gitignore").write_text(".unitrack/\nmlflow.db\nmlruns/\nout/\n")
    sh("git", "init", "-q", "-b", "main")
    commit("first")
    return project


def sh(*command, ok=(0,), environ=None):
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(environ or {})})
    assert done.returncode in ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def commit(words):
    sh("git", "add", "-A")
    sh("git", "commit", "-qm", words)


def unitrack_(*arguments, ok=(0,)):
    return sh(sys.executable, "-m", "unitrack", *arguments, ok=ok)


def test_mlflow_runs_the_example_and_either_run_names_the_other(project):
    sh("mlflow", "run", ".", "--env-manager=local", "-P", "seed=3")
    (view,) = unitrack.runs()
    assert view.status == "finished"
    assert view.params == {"seed": 3, "strength": 1.0}
    theirs = view.captures["mlflow"]["run_id"]
    read = "import mlflow, sys; print(mlflow.MlflowClient().get_run(sys.argv[1]).data.params['seed'])"
    assert sh(sys.executable, "-c", read, theirs).split()[-1] == "3"


def test_an_entry_point_is_the_training_command_of_a_gate(project):
    train = (project / "train.py").read_text()
    (project / "train.py").write_text(train.replace("train_y[rows.index]", "(train_y[rows.index] + 1) % 3"))
    commit("labels that are not theirs")
    unitrack_("gate", "--baseline", "HEAD~1", "--output", "out", ok=(1,))
    verdict = json.loads((project / "out/verdict.json").read_text())
    assert verdict["outcome"] == "fail"
    (accuracy,) = verdict["metrics"]
    assert accuracy["baseline_mean"] > 0.9 > accuracy["candidate_mean"]
    assert not (project / "mlflow.db").exists()  # MLflow's own runs went with the checkouts


def test_a_model_goes_to_mlflows_registry_as_one_with_its_signature_and_flavours(project):
    uri = f"sqlite:///{project}/mlflow.db"
    sh(sys.executable, "train.py")
    (view,) = unitrack.runs()
    settings = (project / "unitrack.toml").read_text()
    (project / "unitrack.toml").write_text(f'registry = "mlflow"\n{settings}\n{MLFLOW.format(uri=uri)}')
    unitrack_("sync")
    unitrack_("models", "register", "flowers", "--run", view.id)
    unitrack_("models", "stage", "flowers", "1", "production", "--force", "--reason", "the first")
    found = json.loads(sh(sys.executable, "-c", LOAD, uri).splitlines()[-1])
    assert found["flavors"] == ["python_function", "sklearn"]
    assert found["inputs"] == [name for name, _ in view.datasets[0].columns if name != "index"]
    assert found["run"] == view.id
    assert found["prediction"] in (0, 1, 2)
    assert "accuracy" in sh(
        "mlflow", "run", ".", "-e", "evaluate", "--env-manager=local", "-P", "model=models:/flowers@production"
    )
