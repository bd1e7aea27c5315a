"""The project's own workflows: its action, of the very commit that is checked out, gates its own example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from action_bench import ActionBench
from action_runner import ROOT, WorkflowRun
from github_fake import FakeGitHub

WORKFLOWS = ROOT / ".github" / "workflows"
SETTINGS = (ROOT / "examples" / "digits" / "unitrack.toml").read_text(encoding="utf-8")
# As quick as can be, in the place of the example's; `make demo` runs that.
TRAIN = """\
import random, sys
import unitrack

LEVEL = 0.9
draw = random.Random(sys.argv[2])
with unitrack.init() as run:
    run.log({"val/accuracy": LEVEL + 0.001 * draw.random(), "val/loss": 1 - LEVEL + 0.001 * draw.random()}, step=0)
"""


@pytest.fixture
def bench(hub: FakeGitHub, tmp_path: Path) -> ActionBench:
    own = [ROOT / "action.yml", *(path for path in (ROOT / "actions").rglob("*") if path.is_file())]
    files = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in own}
    files |= {"examples/digits/train.py": TRAIN, "examples/digits/unitrack.toml": SETTINGS}
    made = ActionBench(tmp_path / "bench", hub, files=files, production=False)
    hub.files["main", "examples/digits/unitrack.toml"] = SETTINGS
    return made


def gate(bench: ActionBench, level: str, *, fork: bool = False) -> WorkflowRun:
    """Run digits.yml, but for the step that installs what the example trains with: that is here."""
    text = (WORKFLOWS / "digits.yml").read_text(encoding="utf-8")
    text, left_out = re.subn(r"      - name: Install what.*?(?=      - )", "", text, flags=re.DOTALL)
    assert left_out == 1
    changed = {"examples/digits/train.py": TRAIN.replace("LEVEL = 0.9", f"LEVEL = {level}")}
    return bench.runner.run(text, bench.pull_request(7, "topic", changed, fork=fork))


def test_a_worse_example_is_kept_out_and_reported_by_the_second_workflow(bench: ActionBench, hub: FakeGitHub) -> None:
    run = gate(bench, "0.8", fork=True)
    assert run.conclusion == "failure"
    found = run.job.steps["gate"].outputs
    assert (found["verdict"], found["baseline"]) == ("fail", bench.git("rev-parse", "main"))
    assert not [call for call in hub.calls if call.method != "GET"], "it may only read"
    evidence = bench.runner.shelf.artifact(run.id, "gate-evidence")
    assert [path.name for path in evidence.rglob("*")] == ["verdict.json"]
    done = bench.runner.run(WORKFLOWS / "digits-report.yml", bench.ended(run))
    assert done.conclusion == "success", done.job.log
    (check,) = hub.checks.values()
    assert (check["name"], check["conclusion"]) == ("unitrack/digits", "failure")
    assert "Gate failed" in hub.comments_of(7)[0]["body"]


def test_a_broken_action_fails_its_own_gate(bench: ActionBench, hub: FakeGitHub) -> None:
    """What is run is the pull request's own action, not a release."""
    bench.write({"actions/gate.sh": "echo broken; exit 9\n"})
    bench.commit("Break the action")
    run = gate(bench, "0.91")
    assert run.conclusion == "failure"
    assert "broken" in run.job.log
    assert hub.checks == {}


def test_an_example_that_is_no_worse_passes(bench: ActionBench, hub: FakeGitHub) -> None:
    run = gate(bench, "0.9005")
    assert run.conclusion == "success", run.job.log
    done = bench.runner.run(WORKFLOWS / "digits-report.yml", bench.ended(run))
    assert done.conclusion == "success", done.job.log
    assert [check["conclusion"] for check in hub.checks.values()] == ["success"]
