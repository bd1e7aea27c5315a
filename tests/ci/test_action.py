"""The action as a repository uses it, with trainings as processes of this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from action_bench import SETTINGS, ActionBench
from action_runner import ROOT, WorkflowRun
from github_fake import FakeGitHub

from unitrack.registry.local import LocalRegistry

EXAMPLES = ROOT / "examples" / "ci"
DOCS = ROOT / "docs" / "action.md"


def first_gate() -> str:
    """The workflow that the documentation begins with."""
    found = re.search(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def bench(hub: FakeGitHub, tmp_path: Path) -> ActionBench:
    return ActionBench(tmp_path / "bench", hub)


def conclusions(hub: FakeGitHub) -> list[str]:
    return [check["conclusion"] for check in hub.checks.values()]


def outputs(run: WorkflowRun) -> dict[str, str]:
    return run.job.steps["gate"].outputs


def gate(bench: ActionBench, *arguments: str, **constants: str) -> WorkflowRun:
    """Gate a pull request of a changed branch by the workflow of the examples."""
    return bench.runner.run(EXAMPLES / "gate.yml", bench.pull_request(7, "topic", **constants))


def test_a_good_change_passes_with_comment_check_summary_and_outputs(bench: ActionBench, hub: FakeGitHub) -> None:
    event = bench.pull_request(7, "wider", LEVEL="0.91")
    run = bench.runner.run(EXAMPLES / "gate.yml", event)
    assert run.conclusion == "success", run.job.log
    assert conclusions(hub) == ["success"]
    (comment,) = hub.comments_of(7)
    assert "Gate: pass" in comment["body"] or "passed" in comment["body"]
    assert "acc" in run.job.summary
    found = outputs(run)
    assert found["verdict"] == "pass"
    assert (found["candidate"], found["baseline"]) == (event.sha, bench.git("rev-parse", "main~1"))
    verdict = json.loads(Path(found["verdict-path"]).read_text())
    assert verdict["outcome"] == "pass"
    assert Path(found["report-path"]).read_text().strip()
    uploaded = bench.runner.shelf.artifact(run.id, "gate")
    assert sorted(path.name for path in uploaded.rglob("*.*")) == ["report.md", "verdict.json"]
    assert bench.runner.shelf.caches() == [], "a pull request writes no cache"
    tokens = list(hub._tokens)
    kept = [
        path.read_bytes() for path in bench.runner.folder.rglob("*") if path.is_file() and "files" not in path.parts
    ]
    assert tokens
    assert not any(token in run.job.log for token in tokens)
    assert not any(token.encode() in data for token in tokens for data in kept)


def test_the_first_gate_of_the_documentation_has_ten_lines_and_keeps_a_regression_out(
    bench: ActionBench, hub: FakeGitHub
) -> None:
    text = first_gate()
    assert len(text.strip().splitlines()) <= 10
    run = bench.runner.run(text, bench.pull_request(7, "worse", LEVEL="0.8"))
    assert run.conclusion == "failure"
    assert conclusions(hub) == ["failure"]
    (comment,) = hub.comments_of(7)
    assert "fail" in comment["body"]
    assert "acc" in run.job.summary
    (shown,) = [one for one in run.job.annotations if one[0] == "error"]
    line = SETTINGS.splitlines().index('name = "acc"') + 1
    assert (shown[1]["file"], shown[1]["line"]) == ("unitrack.toml", str(line)), "at the rule that failed"
    (check,) = hub.checks.values()
    assert [(one["path"], one["start_line"]) for one in check["annotations"]] == [("unitrack.toml", line)]


def test_a_training_that_crashes_is_reported_with_the_reason_and_keeps_the_change_out(
    bench: ActionBench, hub: FakeGitHub
) -> None:
    said = "print('::error::forged'); print('::add-mask::acc'); sys.exit(3)"
    run = gate(bench, EXTRA=json.dumps(said))
    assert run.conclusion == "failure"
    assert "::error::forged" in run.job.log
    assert all("forged" not in one[2] for one in run.job.annotations), "what a training prints is no command"
    assert outputs(run)["verdict"] == "none"
    assert outputs(run)["verdict-path"] == ""
    assert "Gate has no verdict" in run.job.summary
    assert "exit code 3" in run.job.summary
    assert conclusions(hub) == ["failure"]
    assert "exit code 3" in hub.comments_of(7)[0]["body"]


def test_a_training_that_takes_too_long_is_ended_and_keeps_the_change_out(hub: FakeGitHub, tmp_path: Path) -> None:
    settings = SETTINGS.replace("seeds =", "timeout = 2.0\nseeds =")
    bench = ActionBench(tmp_path / "bench", hub, settings=settings)
    run = gate(bench, EXTRA="'import time; time.sleep(60)'")
    assert run.conclusion == "failure"
    assert "stopped after 2 s" in run.job.summary
    assert conclusions(hub) == ["failure"]


def test_a_training_that_writes_to_its_input_is_no_evidence(hub: FakeGitHub, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("1")
    settings = SETTINGS.replace("seeds =", f'inputs = ["{data}"]\nseeds =')
    bench = ActionBench(tmp_path / "bench", hub, settings=settings)
    run = gate(
        bench,
        EXTRA=f"'Path({str(data)!r}).write_text(str(seed) + sys.version)'".replace("'/", '"/').replace("t')", 't")'),
    )
    assert run.conclusion == "failure"
    assert "wrote to its inputs" in run.job.summary
    assert conclusions(hub) == ["failure"]


def test_an_input_that_is_not_what_the_lock_says_is_no_evidence(hub: FakeGitHub, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_text("as it was")
    settings = SETTINGS.replace("seeds =", f'inputs = ["{data}"]\nseeds =')
    bench = ActionBench(tmp_path / "bench", hub, settings=settings)
    bench.lock()
    assert gate(bench, LEVEL="0.91").conclusion == "success"
    data.write_text("as it is now")
    run = gate(bench, LEVEL="0.92")
    assert run.conclusion == "failure"
    assert outputs(run)["verdict"] == "none"
    assert "unitrack.lock is out of date" in run.job.summary.replace("\\", "")
    assert data.name in run.job.summary
    assert conclusions(hub)[-1] == "failure"


def test_an_input_that_is_not_there_is_no_evidence(hub: FakeGitHub, tmp_path: Path) -> None:
    settings = SETTINGS.replace("seeds =", 'inputs = ["data/train.csv"]\nseeds =')
    bench = ActionBench(tmp_path / "bench", hub, settings=settings)
    run = gate(bench, LEVEL="0.91")
    assert run.conclusion == "failure"
    assert "data/train.csv does not exist" in run.job.summary
    assert conclusions(hub) == ["failure"]


def test_without_a_production_model_nothing_passes(hub: FakeGitHub, tmp_path: Path) -> None:
    bench = ActionBench(tmp_path / "bench", hub, production=False)
    run = gate(bench, LEVEL="0.91")
    assert run.conclusion == "failure"
    assert outputs(run)["verdict"] == "undecided"
    assert "There is no baseline yet" in run.job.summary
    assert "unitrack models register toy" in run.job.summary.replace("\\", "")
    assert conclusions(hub) == ["failure"]


def test_a_fault_of_the_settings_is_shown_at_its_line(bench: ActionBench, hub: FakeGitHub) -> None:
    broken = SETTINGS.replace('goal = "maximize"', 'goal = "up"')
    run = bench.runner.run(EXAMPLES / "gate.yml", bench.pull_request(7, "typo", {"unitrack.toml": broken}))
    assert run.conclusion == "failure"
    line = next(at for at, text in enumerate(broken.splitlines(), 1) if "up" in text)
    assert any(one[1]["file"] == "unitrack.toml" and one[1]["line"] == str(line) for one in run.job.annotations)
    assert "goal" in run.job.summary


def test_a_gate_without_the_permission_to_post_still_decides(bench: ActionBench, hub: FakeGitHub) -> None:
    text = re.sub(r"permissions: \{.*\}", "permissions: {contents: read}", first_gate())
    assert bench.runner.run(text, bench.pull_request(7, "worse", LEVEL="0.8")).conclusion == "failure"
    assert hub.checks == {}
    assert hub.comments == {}


def test_a_group_of_the_merge_queue_is_judged_by_its_base(bench: ActionBench, hub: FakeGitHub) -> None:
    bench.change("worse", {"unitrack.toml": SETTINGS.replace("margin = 0.02", "margin = 0.5")}, LEVEL="0.8")
    event = bench.merge_group("worse")
    run = bench.runner.run(EXAMPLES / "gate.yml", event)
    assert run.conclusion == "failure"
    assert outputs(run)["candidate"] == event.sha
    assert [check["head_sha"] for check in hub.checks.values()] == [event.sha]
    assert hub.comments == {}


def test_every_night_the_branch_is_trained_judged_and_kept(bench: ActionBench, hub: FakeGitHub) -> None:
    run = bench.runner.run(EXAMPLES / "nightly.yml", bench.scheduled())
    assert run.conclusion == "success", run.job.log
    assert "Trained" in run.job.summary
    assert conclusions(hub) == ["success"]
    assert len(bench.runner.shelf.caches()) == 1
    later = gate(bench, LEVEL="0.91")
    assert later.conclusion == "success", later.job.log
    assert "baseline seed 0: known" in later.job.log, "pull requests find the baseline trained"


def test_a_merge_promotes_its_model_and_pushes_the_registry(bench: ActionBench, hub: FakeGitHub) -> None:
    bench.pull_request(7, "wider", LEVEL="0.91")
    event = bench.merge(7)
    run = bench.runner.run(EXAMPLES / "promote.yml", event)
    assert run.conclusion == "success", run.job.log
    promoted = run.job.steps["promote"].outputs
    assert promoted["promoted"] == "true"
    attestation = json.loads(Path(promoted["attestation"]).read_text())
    assert attestation["predicate"]["candidate"]["commit"] == event.sha
    assert "toy:2" in run.job.summary
    bench.git("pull", "-q", "origin", "main")
    assert LocalRegistry(bench.root / ".unitrack" / "registry").get("toy@production").version == 2
    assert bench.git("log", "-1", "--format=%an") == "github-actions[bot]"
    assert len(bench.runner.shelf.caches()) == 1


def test_a_merge_that_fails_the_gate_promotes_nothing(bench: ActionBench, hub: FakeGitHub) -> None:
    bench.pull_request(7, "worse", LEVEL="0.8")
    run = bench.runner.run(EXAMPLES / "promote.yml", bench.merge(7))
    assert run.conclusion == "failure"
    assert run.job.steps["promote"].conclusion == "skipped"
    bench.git("pull", "-q", "origin", "main")
    assert "Promote" not in bench.git("log", "-1", "--format=%s")


def test_a_push_that_merged_no_pull_request_promotes_nothing(bench: ActionBench, hub: FakeGitHub) -> None:
    event = bench.scheduled("push")
    event.payload.update(before="0" * 40, after=event.sha, ref=event.ref)
    text = (EXAMPLES / "promote.yml").read_text()
    before, after = text.split("      - uses: unitrack/unitrack@v0.1.0\n        id: gate\n")
    run = bench.runner.run(
        before + after.replace("verdict: ${{ steps.gate.outputs.verdict-path }}", "alias: production"), event
    )
    assert run.conclusion == "success", run.job.log
    assert run.job.steps["promote"].outputs["promoted"] == "false"
    assert "Nothing was promoted" in run.job.summary


def test_a_pull_request_does_not_grade_itself_in_the_reusable_workflow_either(
    bench: ActionBench, hub: FakeGitHub
) -> None:
    text = """\
on: pull_request
permissions: {contents: read, checks: write, pull-requests: write}
jobs:
  models:
    uses: unitrack/unitrack/.github/workflows/gate.yml@v0.1.0
    with: {name: toy, seeds: "2"}
"""
    lax = SETTINGS.replace("margin = 0.02", "margin = 0.5")
    run = bench.runner.run(text, bench.pull_request(7, "lax", {"unitrack.toml": lax}, LEVEL="0.8"))
    assert run.conclusion == "failure"
    job = run.jobs["models / gate"]
    assert job.outputs["verdict"] == "fail"
    assert any("policy" in one[1]["title"] for one in job.annotations), "the change of the policy is told"
    assert [check["name"] for check in hub.checks.values()] == ["unitrack/toy"]


def test_where_unitrack_could_not_be_installed_the_summary_says_so(bench: ActionBench, hub: FakeGitHub) -> None:
    bench.runner.prepared = False
    text = first_gate() + "        with: {python: no-such-python}\n"
    run = bench.runner.run(text, bench.pull_request(7, "wider", LEVEL="0.91"))
    assert run.conclusion == "failure"
    assert "could not be installed" in run.job.summary
    assert any("no-such-python" in one[2] for one in run.job.annotations)
