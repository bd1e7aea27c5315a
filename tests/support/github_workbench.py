"""A folder and an environment as a step of a GitHub workflow finds them, and sound verdicts to report from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from github_fake import FakeGitHub, repository_id

from unitrack.cli import main
from unitrack.config import load_settings
from unitrack.gate.decide import MetricEvidence, decide
from unitrack.gate.lineage import Lineage
from unitrack.gate.policy import make_policy, policy_digest
from unitrack.gate.verdict import SeedRun, Subject, Verdict, encode, outcome_of, summary_of

HEAD, MERGE, BASE = "a" * 40, "e" * 40, "b" * 40
FORK = "stranger/models"
SETTINGS = """\
project = "digits"

[gate]
model = "digits"

[[gate.metrics]]
name = "acc"
goal = "maximize"
margin = 0.02

[[gate.metrics]]
name = "loss"
goal = "minimize"
role = "report"
"""
GOOD = (0.905, 0.912, 0.893, 0.921, 0.902)
BAD = (0.85, 0.861, 0.839, 0.87, 0.852)
NOISY = (0.84, 0.95, 0.89, 0.9, 0.91)
BASELINE = (0.9, 0.91, 0.89, 0.92, 0.9)


def sound_verdict(values: tuple[float | None, ...] = GOOD, *, commit: str = HEAD, **fields: Any) -> Verdict:
    """A verdict by the policy of SETTINGS that agrees with itself."""
    folder = Path("policy")
    folder.mkdir(exist_ok=True)
    (folder / "unitrack.toml").write_text(SETTINGS)
    gate = load_settings(folder, env={}).gate
    assert gate is not None
    policy = make_policy(gate)
    seeds = tuple(range(len(values)))
    sides = [(values, BASELINE[: len(seeds)]), ((0.3,) * len(seeds), (0.31,) * len(seeds))]
    decisions = decide(
        policy,
        [
            MetricEvidence(rule=rule, seeds=seeds, candidate=candidate, baseline=baseline)
            for rule, (candidate, baseline) in zip(policy.metrics, sides, strict=True)
        ],
    )
    runs = [tuple(SeedRun(seed=seed, run=f"{side}{seed}", job="j" * 64) for seed in seeds) for side in "cb"]
    outcome = outcome_of(decisions)
    made: dict[str, Any] = {
        "key": "f" * 64,
        "blocks": outcome != "pass",
        "outcome": outcome,
        "summary": summary_of(outcome, decisions),
        "created": 1.78e9,
        "unitrack": "0.1.0",
        "policy": policy,
        "policy_sha256": policy_digest(policy),
        "policy_source": "unitrack.toml",
        "candidate": Subject(commit=commit, reference="HEAD", runs=runs[0]),
        "baseline": Subject(commit=BASE, reference="digits@production", model="digits:1", runs=runs[1]),
        "seeds": seeds,
        "metrics": decisions,
        "lineage": Lineage(likely_cause="Nothing changed."),
        "reproduce": "unitrack gate",
    }
    return Verdict(**{**made, **fields})


class Workbench:
    """One step of one job: change what it finds, then `run` a command in it."""

    def __init__(self, hub: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hub, self._patch = hub, monkeypatch
        Path("unitrack.toml").write_text(SETTINGS)
        Path(".git").mkdir(exist_ok=True)
        self.summary, self.output = Path("summary.md"), Path("output")
        self.set(
            GITHUB_ACTIONS="true",
            GITHUB_REPOSITORY=hub.repository,
            GITHUB_API_URL=hub.url,
            GITHUB_TOKEN=hub.token(),
            GITHUB_WORKFLOW="gate",
            GITHUB_JOB="report",
            GITHUB_RUN_ID="1000",
            GITHUB_RUN_ATTEMPT="1",
            GITHUB_STEP_SUMMARY=str(self.summary.resolve()),
            GITHUB_OUTPUT=str(self.output.resolve()),
        )
        hub.files["main", "unitrack.toml"] = SETTINGS

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def event(self, name: str, payload: dict[str, Any], sha: str) -> None:
        Path("event.json").write_text(json.dumps(payload))
        self.set(GITHUB_EVENT_NAME=name, GITHUB_EVENT_PATH=str(Path("event.json").resolve()), GITHUB_SHA=sha)

    def pull_request(self, number: int = 7, *, head: str = HEAD, repository: str | None = None, **more: Any) -> None:
        """Be a job of a pull request, of a fork's if `repository` is another one."""
        self.hub.add_pull(number, head=head, head_repository=repository, merge_commit=MERGE, **more)
        self.event("pull_request", {"number": number, "pull_request": self.hub.pulls[number]}, MERGE)

    def workflow_run(self, number: int = 7, *, head: str = HEAD, repository: str = FORK, **changes: Any) -> None:
        """Be a job of the default branch, started because the gate of a fork's pull request ended."""
        if number not in self.hub.pulls:
            self.hub.add_pull(number, head=head, head_repository=repository, merge_commit=MERGE)
        owner = repository.split("/", maxsplit=1)[0]
        run = {
            "id": 500, "run_attempt": 1, "event": "pull_request", "conclusion": "success", "head_sha": head,
            "head_branch": "topic", "pull_requests": [],
            "head_repository": {"id": repository_id(repository), "owner": {"login": owner}},
        }  # fmt: skip
        payload = {"workflow_run": {**run, **changes}, "repository": {"default_branch": "main"}}
        self.event("workflow_run", payload, "d" * 40)

    def verdict(self, verdict: Verdict | None = None, path: str = "out/verdict.json") -> str:
        """Leave a verdict as the gate does; return its path."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(verdict or sound_verdict()))
        return path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["ci", *arguments], prog_name="unitrack")

    def report(self, *arguments: str, verdict: Verdict | None = None) -> Result:
        return self.run("report", "--verdict", self.verdict(verdict), "--patience", "5", *arguments)

    def outputs(self) -> dict[str, str]:
        """Read the outputs as the runner does."""
        found, lines = {}, iter(self.output.read_text().splitlines() if self.output.exists() else [])
        for line in lines:
            name, _, delimiter = line.partition("<<")
            value = []
            for inner in lines:
                if inner == delimiter:
                    break
                value.append(inner)
            found[name] = "\n".join(value)
        return found

    def evidence(self, verdict: Verdict | None = None) -> Path:
        """Leave the folder that an untrusted job uploads."""
        folder = Path("evidence")
        folder.mkdir(exist_ok=True)
        (folder / "verdict.json").write_bytes(encode(verdict or sound_verdict()))
        return folder


def replaced(verdict: Verdict, **fields: Any) -> Verdict:
    return msgspec.structs.replace(verdict, **fields)
