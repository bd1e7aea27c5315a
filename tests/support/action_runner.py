"""Runs our workflows and composite actions for real, with the file protocol of GitHub's runner.

    runner = ActionRunner(folder, hub, remote=bare_repository)
    done = runner.run(workflow_text, event)
    assert done.jobs["gate"].conclusion == "failure"

Steps that `run:` are run by bash. Of `uses:` steps, those that name one of our own actions are run step by step from
their `action.yml`; those of others are replaced by the plain stand-ins of `action_standins`. What is not understood,
in a workflow or in an expression, is an error. There is no isolation: a job has a folder and an environment of
its own on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from action_expressions import evaluate, is_true
from action_machine import Event, JobRun, Machine, RunnerError, condition_of, inputs_of, never
from action_standins import Shelf
from github_fake import FakeGitHub

__all__ = ["ROOT", "ActionRunner", "Event", "JobRun", "RunnerError", "WorkflowRun"]

ROOT = Path(__file__).parent.parent.parent
OWN = "unitrack/unitrack"


@dataclass(kw_only=True)
class WorkflowRun:
    id: int
    name: str
    conclusion: str
    jobs: dict[str, JobRun]
    event: Event

    @property
    def job(self) -> JobRun:
        """The only job."""
        (job,) = self.jobs.values()
        return job


class ActionRunner:
    """A repository on a GitHub, and a machine for each of its jobs.

    `prepared` leaves the step that installs unitrack out: it then is the one that runs the tests. `variables` are
    set for all jobs, such as those that lead to a container engine; `show` is told each line of the log.
    """

    def __init__(
        self,
        folder: Path,
        hub: FakeGitHub,
        remote: Path,
        *,
        own: Path = ROOT,
        prepared: bool = True,
        variables: Mapping[str, str] | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.hub, self.remote, self.own, self.prepared = folder, hub, remote, own, prepared
        self.variables, self.show = dict(variables or {}), show or (lambda _: None)
        self.shelf = Shelf(folder / "shelf")
        self._count = 0

    def run(self, workflow: str | Path, event: Event) -> WorkflowRun:
        """Run all jobs of a workflow, one after another."""
        text = workflow.read_text(encoding="utf-8") if isinstance(workflow, Path) else workflow
        self._count += 1
        tree = yaml.safe_load(text)
        triggers = tree.get("on", tree.get(True))  # YAML 1.1 reads the word `on` as true
        if event.name not in ([triggers] if isinstance(triggers, str) else triggers):
            raise RunnerError(f"the workflow is not for {event.name} events")
        run = WorkflowRun(id=1000 + self._count, name=tree.get("name", ""), conclusion="success", jobs={}, event=event)
        github = self._github(run, event)
        for name, job in tree["jobs"].items():
            self._job(run, name, job, github, tree.get("permissions"), {})
        if any(job.conclusion == "failure" for job in run.jobs.values()):
            run.conclusion = "failure"
        return run

    def _github(self, run: WorkflowRun, event: Event) -> dict[str, Any]:
        return {
            "event": event.payload, "event_name": event.name, "sha": event.sha, "ref": event.ref,
            "ref_name": event.ref.split("/", 2)[-1], "head_ref": event.head_ref, "base_ref": event.base_ref,
            "repository": self.hub.repository, "run_id": run.id, "run_attempt": 1, "workflow": run.name,
            "api_url": self.hub.url, "server_url": "https://github.com",
        }  # fmt: skip

    def _job(
        self,
        run: WorkflowRun,
        name: str,
        job: dict[str, Any],
        github: dict[str, Any],
        permissions: Any,
        inputs: dict[str, Any],
    ) -> None:
        wanted = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        needs = {one: {"result": run.jobs[one].conclusion, "outputs": run.jobs[one].outputs} for one in wanted}
        fine = all(run.jobs[one].conclusion == "success" for one in wanted)
        contexts = {"github": github, "needs": needs, "inputs": inputs}
        functions = {"success": lambda: fine, "failure": lambda: not fine, "always": lambda: True, "cancelled": never}
        if not is_true(evaluate(condition_of(job.get("if")), contexts, functions)):
            run.jobs[name] = JobRun(conclusion="skipped")
            return
        permissions = job.get("permissions", permissions)
        if "uses" in job:
            self._called(run, name, job, github, permissions, contexts, functions)
            return
        run.jobs[name] = Machine(self, run, name, job, {**contexts, "github": dict(github)}, permissions).run()

    def _called(
        self,
        run: WorkflowRun,
        name: str,
        job: dict[str, Any],
        github: dict[str, Any],
        permissions: Any,
        contexts: dict[str, Any],
        functions: dict[str, Any],
    ) -> None:
        """Run a reusable workflow of ours: its jobs take the place of the one that calls it."""
        found = re.fullmatch(rf"{OWN}/(\.github/workflows/[\w-]+\.yml)@\S+", job["uses"])
        if found is None:
            raise RunnerError(f"uses: {job['uses']} is no workflow of ours")
        tree = yaml.safe_load((self.own / found[1]).read_text(encoding="utf-8"))
        declared = tree.get("on", tree.get(True))["workflow_call"]["inputs"]
        inputs = inputs_of(declared, job.get("with", {}), contexts, functions, str(found[1]))
        for inner, each in tree["jobs"].items():
            asked, granted = each.get("permissions", tree.get("permissions")) or {}, permissions or {}
            beyond = [key for key, level in asked.items() if level == "write" and granted.get(key) != "write"]
            if beyond:
                raise RunnerError(f"the called workflow asks for {beyond}, which its caller may not give")
            self._job(run, f"{name} / {inner}", each, github, asked, inputs)

    def action(self, uses: str, machine: Machine) -> Path | None:
        """Return the folder of one of our own actions, None for others'."""
        if uses.startswith("./"):
            return Path(machine.done.workspace, uses)
        found = re.fullmatch(rf"{OWN}(/[\w/-]+)?@\S+", uses)
        return self.own / (found[1] or "").lstrip("/") if found else None
