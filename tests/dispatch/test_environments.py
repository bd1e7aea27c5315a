"""Trackers' clients live in environments of their own: training needs unitrack's core and nothing else."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from dispatch_pinned import ROOT, environment, install, pip

from unitrack.config import BackendSettings, load_settings
from unitrack.dispatch.background import wait_until_sent
from unitrack.dispatch.environment import SetupError, check_worker, make_environment, plan_environment

CLIENTS = {
    "mlflow": ("mlflow", "mlflow-skinny"),
    "wandb": ("wandb", "wandb"),
    "neptune": ("neptune_scale", "neptune-scale"),
}
MORE = {"mlflow": (), "wandb": (), "neptune": ("pyarrow",)}

TRAIN = """\
import importlib.util, json, sys
import unitrack
with unitrack.init("own", id="one", config={"lr": 0.1}) as run:
    for step in range(5):
        run.log({"loss": 1 / (step + 1)}, step=step)
print(json.dumps([name for name in ("mlflow", "wandb", "neptune_scale", "unitrack_mlflow", "unitrack_wandb",
                                    "unitrack_neptune", "numpy") if importlib.util.find_spec(name)]))
"""


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """Make four environments, pinned by hash: one to train in, and one for each tracker's worker, without ours yet."""
    folder = tmp_path_factory.mktemp("environments")
    pythons = {name: environment(folder / name) for name in ("train", *CLIENTS)}
    try:
        install(pythons["train"], "unitrack")
        for name, (_, client) in CLIENTS.items():
            install(pythons[name], "unitrack", client, *MORE[name])
    except RuntimeError as error:
        if not _index_answers():
            pytest.skip(f"no package index can be reached from here: {error}")
        raise
    pip(pythons["train"], "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    return pythons


def _index_answers():
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "-d", "downloaded", "pluggy"],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def unitrack(*arguments, python=sys.executable):
    done = subprocess.run(
        [str(python), "-m", "unitrack", *arguments], capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PIP_NO_BUILD_ISOLATION": "0"},  # pip reads this as: none; the builder is there, pinned
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_training_sends_to_three_trackers_whose_clients_it_cannot_import(environments, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    Path("unitrack.toml").write_text(
        f'[backends.mlflow]\ntracking_uri = "file://{tmp_path}/mlruns"\n\n'
        f'[backends.wandb]\n# offline files\nmode = "offline"\n\n[backends.neptune]\nmode = "offline"\n'
    )
    for name in CLIENTS:
        unitrack("backends", "setup", name, "--path", str(environments[name].parents[1]), "--write")
    assert "# offline files" in Path("unitrack.toml").read_text()
    listed = json.loads(unitrack("backends", "--json", python=environments["train"]))
    assert [(one["name"], one["problem"], one["plugin"].split()[0]) for one in listed] == [
        (name, None, f"unitrack-{name}") for name in CLIENTS
    ]

    done = subprocess.run([environments["train"], "-c", TRAIN], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [], "training can import no client and no plugin"
    run = load_settings().store / "runs" / "one"
    late = wait_until_sent(run, CLIENTS, 90.0)
    assert late == [], (run / "sync" / "dispatcher.log").read_text()

    for name, (client, _) in CLIENTS.items():
        found = subprocess.run(
            [environments[name], "-I", "-c", "import importlib.util as u, sys; print([c for c in sys.argv[1:] if u.find_spec(c)])",
             *(module for module, _ in CLIENTS.values())], capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout.strip() == str([client])
    assert _held_by_mlflow(tmp_path) == [(step, 1 / (step + 1)) for step in range(5)]
    assert any(b"loss" in path.read_bytes() for path in tmp_path.rglob("run-*.wandb"))
    assert b"loss" in _held_by_neptune(tmp_path)


def _held_by_mlflow(tmp_path):
    (history,) = (tmp_path / "mlruns").glob("*/*/metrics/loss")
    rows = [line.split() for line in history.read_text().splitlines()]
    return sorted((int(step), float(value)) for _, value, step in rows)


def _held_by_neptune(tmp_path):
    (path,) = tmp_path.rglob("*.sqlite3")
    with sqlite3.connect(path) as database:
        rows = [row for (row,) in database.execute("select operation from run_operations")]
    database.close()
    return b"".join(rows)


def test_a_worker_that_cannot_start_is_told_with_its_reason(tmp_path):
    assert "can't be started" in check_worker(BackendSettings(type="mlflow", python="/nowhere/python")).problem
    assert "no backend 'kaos'" in check_worker(BackendSettings(type="kaos")).problem
    wrong = check_worker(BackendSettings(type="mlflow", options={"tracking": "x"}))
    assert "tracking" in wrong.problem and wrong.plugin is None
    assert check_worker(BackendSettings(type="mlflow")).plugin.startswith("unitrack-mlflow ")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(SetupError, match="is no virtual environment"):
        plan_environment("mlflow", tmp_path / "mine")


def test_what_pip_says_is_in_the_error(tmp_path):
    environment(tmp_path / "env")
    plan = plan_environment("mlflow", tmp_path / "env", extra=[str(tmp_path / "nothing")])
    told = []
    with pytest.raises(SetupError, match="nothing"):
        make_environment(plan, told.append)
    assert told and "--editable" in told[0], "this unitrack is a checkout, and so the environment's is"


def test_a_dry_run_prints_the_commands_and_makes_nothing(tmp_path):
    shown = unitrack("backends", "setup", "mlflow", "--dry-run", "--with", "psycopg2-binary")
    assert shown.splitlines()[0].endswith(f"-m venv {tmp_path}/.unitrack-envs/mlflow")
    assert "unitrack-mlflow" in shown and shown.rstrip().endswith("psycopg2-binary")
    assert not (tmp_path / ".unitrack-envs").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[backends.x]\na = 1\n", '[backends.x]\npython = "p"\na = 1\n'),
        ('[backends.x]  # mine\npython = "old"  # why\n[gate]\n', '[backends.x]  # mine\npython = "p"\n[gate]\n'),
        ('[backends.y]\npython = "y"\n', '[backends.y]\npython = "y"\n\n[backends.x]\npython = "p"\n'),
        ("", '[backends.x]\npython = "p"\n'),
        ("[ backends . 'x' ]", '[ backends . \'x\' ]\npython = "p"\n'),
    ],
)  # fmt: skip
def test_writing_the_line_leaves_the_rest_of_the_file_alone(tmp_path, before, after):
    from unitrack.cli.backends import _write
    from unitrack.config import Settings

    file = tmp_path / "unitrack.toml"
    file.write_text(before)
    _write(Settings(root=tmp_path, file=file), "x", 'python = "p"')
    assert file.read_text() == after


def test_the_list_says_which_worker_cannot_start_and_why():
    Path("unitrack.toml").write_text('[backends.mlflow]\n[backends.kaos]\npython = "/nowhere/python"\n')
    done = subprocess.run([sys.executable, "-m", "unitrack", "backends"], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split()[:3] == ["mlflow", "mlflow", "unitrack-mlflow"] and lines[1].endswith("starts")
    assert lines[2].split()[-2:] == ["can't", "start"]
    assert lines[3] == "kaos: /nowhere/python can't be started: No such file or directory"
    Path("unitrack.toml").write_text("")
    done = subprocess.run([sys.executable, "-m", "unitrack", "backends"], capture_output=True, text=True, check=True)
    assert "add a section [backends.NAME]" in done.stdout
