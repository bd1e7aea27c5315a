"""Pull requests from forks in two steps: the first has no secrets, the second believes nothing of what the first left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from action_bench import ActionBench
from action_runner import ROOT, WorkflowRun
from github_fake import FakeGitHub

EXAMPLES = ROOT / "examples" / "ci"
FIRST, SECOND = EXAMPLES / "strangers-gate.yml", EXAMPLES / "strangers-report.yml"


@pytest.fixture
def bench(hub: FakeGitHub, tmp_path: Path) -> ActionBench:
    return ActionBench(tmp_path / "bench", hub)


def first(bench: ActionBench, **constants: str) -> WorkflowRun:
    return bench.runner.run(FIRST, bench.pull_request(7, "topic", fork=True, **constants))


def second(bench: ActionBench, run: WorkflowRun) -> WorkflowRun:
    return bench.runner.run(SECOND, bench.ended(run))


def test_the_first_step_writes_nothing_and_the_second_reports_what_it_left(bench: ActionBench, hub: FakeGitHub) -> None:
    run = first(bench, LEVEL="0.8")
    assert run.conclusion == "failure"
    assert "acc" in run.job.summary
    assert not [call for call in hub.calls if call.method != "GET"]
    evidence = bench.runner.shelf.artifact(run.id, "gate-evidence")
    assert [path.name for path in evidence.rglob("*")] == ["verdict.json"]
    done = second(bench, run)
    assert done.conclusion == "success", done.job.log
    (check,) = hub.checks.values()
    assert check["conclusion"] == "failure"
    assert check["head_sha"] == hub.pulls[7]["head"]["sha"]
    (comment,) = hub.comments_of(7)
    assert "Self-reported" in comment["body"]
    assert "0.9" in (done.job.workspace / "train.py").read_text(), "nothing of the fork was checked out"
    assert bench.runner.shelf.caches() == []
    # Evidence of a run is no evidence for another commit, whichever run it is offered by.
    bench.pull_request(8, "other", fork=True, LEVEL="0.92")
    run.event.payload["pull_request"] = hub.pulls[8]
    assert second(bench, run).conclusion == "failure"
    assert list(hub.checks.values())[-1]["conclusion"] == "failure"
    assert "it judges commit" in hub.comments_of(8)[0]["body"]
    assert hub.comments_of(7) == [comment]


def test_a_job_that_left_no_evidence_is_reported_as_no_pass(bench: ActionBench, hub: FakeGitHub) -> None:
    run = first(bench, EXTRA='"sys.exit(1)"')
    assert not bench.runner.shelf.artifact(run.id, "gate-evidence").exists()
    assert second(bench, run).conclusion == "failure"
    (check,) = hub.checks.values()
    assert check["conclusion"] == "failure"
    assert "Gate has no verdict" in hub.comments_of(7)[0]["body"]


def test_evidence_that_was_tampered_with_ends_closed(bench: ActionBench, hub: FakeGitHub) -> None:
    run = first(bench, LEVEL="0.8")
    evidence = bench.runner.shelf.artifact(run.id, "gate-evidence")
    sound = (evidence / "verdict.json").read_bytes()
    tree = json.loads(sound)
    forged = {**tree, "outcome": "pass", "summary": "All is well."}
    lax = json.loads(sound)
    lax["policy"]["metrics"][0]["margin"] = 0.5
    for number, data in enumerate((json.dumps(forged).encode(), json.dumps(lax).encode(), b"\x80\x04pickled")):
        (evidence / "verdict.json").write_bytes(data)
        assert second(bench, run).conclusion == "failure", number
    (evidence / "verdict.json").write_bytes(sound)
    (evidence / "more.sh").write_text("echo")
    assert second(bench, run).conclusion == "failure"
    assert {check["conclusion"] for check in hub.checks.values()} == {"failure"}
    assert "refused" in hub.comments_of(7)[0]["body"]
    assert len(hub.comments_of(7)) == 1


def test_a_pull_request_that_was_pushed_to_meanwhile_is_left_to_the_next_run(
    bench: ActionBench, hub: FakeGitHub
) -> None:
    run = first(bench, EXTRA='"sys.exit(1)"')
    told = bench.ended(run)
    told.payload = json.loads(json.dumps(told.payload))
    hub.push(7, "f" * 40)
    done = bench.runner.run(SECOND, told)
    assert done.conclusion == "failure"
    assert hub.checks == {}
    assert hub.comments_of(7) == []
    assert "no open pull request" in done.job.summary


def test_the_one_step_gate_of_a_fork_decides_and_leaves_posting_alone(bench: ActionBench, hub: FakeGitHub) -> None:
    event = bench.pull_request(7, "topic", fork=True, LEVEL="0.8")
    run = bench.runner.run(EXAMPLES / "gate.yml", event)
    assert run.conclusion == "failure"
    assert "posted by the `workflow_run` job" in run.job.log
    assert not [call for call in hub.calls if call.method != "GET"]
