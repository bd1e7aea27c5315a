"""Metaflow itself, run locally: tasks are child runs, each system names the other's, failures and retries, a card."""

import base64
import json
import os
import re
import subprocess
import sys

import pytest

import unitrack

FLOW = """
import os
import unitrack
from metaflow import FlowSpec, Parameter, card, retry, step
from unitrack_metaflow import show_verdict, tracked


class Train(FlowSpec):
    rate = Parameter("rate", default=0.1)
    broken = Parameter("broken", default=False)

    @tracked
    @step
    def start(self):
        self.seeds = [1, 2]
        self.next(self.fit, foreach="seeds")

    @retry(times=1, minutes_between_retries=0)
    @tracked
    @step
    def fit(self):
        from metaflow import current
        unitrack.log({"loss": float(self.input)}, step=0)
        if self.input == 2 and not current.retry_count:
            raise RuntimeError("once")
        self.next(self.join)

    @tracked
    @step
    def join(self, inputs):
        if self.broken_now(inputs):
            raise RuntimeError("for good")
        self.next(self.end)

    def broken_now(self, inputs):
        return self.broken

    @card
    @tracked
    @step
    def end(self):
        show_verdict("verdict.json")


if __name__ == "__main__":
    Train()
"""
READ = """
import json, sys
from metaflow import Flow, namespace
namespace(None)
run = Flow("Train").latest_run
print(json.dumps({
    "id": run.id, "successful": run.successful, "tags": sorted(run.tags),
    "tasks": {task.pathspec: task.data.unitrack_run for step in run for task in step},
}))
"""


SETTINGS = """
project = "shop"
capture = []
[train]
command = ["python", "train.py"]
seeds = [0, 1, 2]
[gate]
[[gate.metrics]]
name = "score"
goal = "maximize"
margin = 0.1
"""


def make_verdict(base):
    """Let a gate fail, and keep its verdict beside the flow."""
    repo = base / "project"
    repo.mkdir()
    (repo / "unitrack.toml").write_text(SETTINGS)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    for score in (0.9, 0.1):
        code = f"import os, unitrack\nwith unitrack.init() as run:\n    run.log({{'score': {score} + int(os.environ['UNITRACK_SEED']) / 1000}})\n"
        (repo / "train.py").write_text(code)
        subprocess.run(["git", "-C", str(repo), "add", "-A"], check=True)
        subprocess.run(["git", "-C", str(repo), *identity, "commit", "-qm", "change"], check=True)
    command = [sys.executable, "-m", "unitrack", "gate", "--baseline", "HEAD~1", "--output", str(base)]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """One flow that ended well, after a retry, and one whose join fails; with what Metaflow's own client reads of them."""
    base = tmp_path_factory.mktemp("flows")
    (base / "flow.py").write_text(FLOW)
    make_verdict(base)
    environ = {
        **os.environ, "METAFLOW_DATASTORE_SYSROOT_LOCAL": str(base / "metaflow"), "METAFLOW_DEFAULT_DATASTORE": "local",
        "METAFLOW_DEFAULT_METADATA": "local",
        "USERNAME": "tester", "HOME": str(base), "UNITRACK_DIR": str(base / "store"),
    }  # fmt: skip

    def python(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=base, env=environ, capture_output=True, text=True, check=False
        )

    ended = {}
    for name, arguments in {"good": [], "broken": ["--broken", "True"]}.items():
        done = python("flow.py", "run", "--rate", "0.2", *arguments)
        assert (done.returncode == 0) == (name == "good"), done.stdout + done.stderr
        read = python("-c", READ)
        assert read.returncode == 0, read.stderr
        ended[name] = json.loads(read.stdout)
    return base / "store", ended


def test_a_flow_is_a_run_and_each_task_a_child_of_it(flows):
    store, ended = flows
    flow = unitrack.get_run(f"metaflow-Train-{ended['good']['id']}", dir=store)
    children = unitrack.runs(dir=store, parent=flow.id)
    assert flow.status == "finished"
    assert sorted(child.name for child in children if child.status == "finished") == [
        "end",
        "fit",
        "fit",
        "join",
        "start",
    ]
    assert sorted(
        child.summary["loss"] for child in children if child.name == "fit" and child.status == "finished"
    ) == [1, 2]
    assert {child.params["rate"] for child in children} == {0.2}


def test_each_system_names_the_others_runs(flows):
    store, ended = flows
    good = ended["good"]
    assert f"unitrack:metaflow-Train-{good['id']}" in good["tags"]
    assert len(good["tasks"]) == 5
    for pathspec, run_id in good["tasks"].items():
        assert unitrack.get_run(run_id, dir=store).captures["metaflow"]["pathspec"] == pathspec


def test_a_retry_is_a_run_of_its_own_beside_the_one_that_failed(flows):
    store, ended = flows
    fits = [
        view for view in unitrack.runs(dir=store, parent=f"metaflow-Train-{ended['good']['id']}") if view.name == "fit"
    ]
    assert sorted((view.status, view.captures["metaflow"]["retry"]) for view in fits) == [
        ("failed", 0), ("finished", 0), ("finished", 1),
    ]  # fmt: skip


def test_a_step_that_fails_for_good_fails_the_flow(flows):
    store, ended = flows
    flow = unitrack.get_run(f"metaflow-Train-{ended['broken']['id']}", dir=store)
    assert flow.status == "failed"
    assert "step join: RuntimeError: for good" in flow.reason
    assert not ended["broken"]["successful"]


def test_the_card_shows_the_verdict(flows):
    """The page of the card holds its contents as base64."""
    store, ended = flows
    (page,) = (path for path in store.parent.rglob("mf.cards/**/*.html") if ended["good"]["id"] in path.parts)
    (held,) = re.findall(r'__MF_DATA__\[[^\]]*\]\s*=\s*"([A-Za-z0-9+/=]+)"', page.read_text())
    shown = base64.b64decode(held).decode()
    assert "Gate: fail" in shown
    assert '"source": "\\nscore"' in shown
    assert "a loss beyond the margin" in shown
