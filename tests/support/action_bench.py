"""A project with a model in production, a remote on disk that its developers push to, and the events that follow.

bench = ActionBench(folder, hub, train=TRAIN, settings=SETTINGS)
event = bench.pull_request(7, "wider", LEVEL="0.91")
done = bench.runner.run(Path("examples/ci/gate.yml"), event)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from action_runner import ActionRunner, Event
from as_action import AS_ACTION
from github_fake import FakeGitHub, repository_id

from unitrack.registry.local import LocalRegistry

__all__ = ["SETTINGS", "TRAIN", "ActionBench"]

TRAIN = """\
import random, sys
from pathlib import Path
import unitrack

LEVEL = 0.9
NOISE = 0.002
EXTRA = None
seed = int(sys.argv[1])
draw = random.Random(seed)
with unitrack.init(config={"level": LEVEL, "seed": seed}) as run:
    exec(EXTRA or "")
    run.log({"acc": LEVEL + NOISE * draw.gauss(0, 1), "loss": 1 - LEVEL + NOISE * draw.random()}, step=0)
    path = Path("model.txt")
    path.write_text(str(LEVEL))
    run.log_model(path, name="model")
"""
SETTINGS = """\
project = "toy"
capture = ["git"]

[train]
command = ["python", "train.py", "{seed}"]
seeds = [0, 1]

[gate]
model = "toy"

[[gate.metrics]]
name = "acc"
goal = "maximize"
margin = 0.02

[[gate.metrics]]
name = "loss"
goal = "minimize"
role = "report"
"""


class ActionBench:
    """`root` is a developer's clone, `remote` what the hub keeps, `runner` the machines of the hub."""

    def __init__(
        self,
        folder: Path,
        hub: FakeGitHub,
        *,
        train: str = TRAIN,
        settings: str = SETTINGS,
        files: Mapping[str, str] | None = None,
        production: bool = True,
        **runner: Any,
    ) -> None:
        self.hub, self.root, self.remote = hub, folder / "developer", folder / "remote.git"
        self.root.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.remote)], check=True)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", str(self.remote))
        self.write({"train.py": train, "unitrack.toml": settings, **(files or {})})
        self.commit("Train")
        if production:
            self._put_into_production()
        self.git("push", "-q", "origin", "main")
        self.hub.files["main", "unitrack.toml"] = settings
        self.runner = ActionRunner(folder / "runner", hub, self.remote, **runner)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, message: str) -> str:
        """Commit all that is there; return the commit."""
        self.git("add", ".")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def lock(self, variables: Mapping[str, str] | None = None) -> None:
        """Run `unitrack lock`, commit what it wrote and push."""
        environ = {**os.environ, **AS_ACTION, **(variables or {})}
        subprocess.run([sys.executable, "-m", "unitrack", "lock"], cwd=self.root, env=environ, check=True)
        self.commit("Lock")
        self.git("push", "-q", "origin", "main")

    def _put_into_production(self) -> None:
        registry = LocalRegistry(self.root / ".unitrack" / "registry", identity=lambda: "test")
        registry.register("toy", run="first", commit=self.git("rev-parse", "HEAD"))
        registry.set_alias("toy", "staging", 1, reason="tried")
        registry.set_alias("toy", "production", 1, reason="good")
        self.commit("Register toy:1")

    def change(self, branch: str, files: Mapping[str, str] | None = None, **constants: str) -> str:
        """Commit a change on a branch of its own: new files, or constants of train.py set to Python texts."""
        self.git("checkout", "-q", "-B", branch, "main")
        text = (self.root / "train.py").read_text()
        for name, value in constants.items():
            before = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
            text = text.replace(before, f"{name} = {value}")
        self.write({"train.py": text, **(files or {})})
        made = self.commit(branch)
        self.git("checkout", "-q", "main")
        return made

    def pull_request(
        self, number: int, branch: str, files: Mapping[str, str] | None = None, *, fork: bool = False, **constants: str
    ) -> Event:
        """Open a pull request of a changed branch, of a stranger's fork if asked for."""
        head = self.change(branch, files, **constants)
        merge = self._merged(branch)
        self.git("push", "-qf", "origin", f"{head}:refs/pull/{number}/head", f"{merge}:refs/pull/{number}/merge")
        self.hub.add_pull(
            number,
            head=head,
            head_ref=branch,
            head_repository="stranger/models" if fork else None,
            base=self.git("rev-parse", "main"),
            merge_commit=merge,
        )
        return Event(
            name="pull_request",
            payload={"number": number, "pull_request": self.hub.pulls[number], **self._repository()},
            sha=merge,
            ref=f"refs/pull/{number}/merge",
            head_ref=branch,
            base_ref="main",
            stranger=fork,
        )

    def _merged(self, branch: str) -> str:
        self.git("checkout", "-q", "--detach", "main")
        self.git("merge", "-q", "--no-ff", "-m", f"Merge {branch}", branch)
        made = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "main")
        return made

    def merge_group(self, branch: str) -> Event:
        """Let a branch stand first in the merge queue."""
        base, head = self.git("rev-parse", "main"), self._merged(branch)
        ref = f"refs/heads/gh-readonly-queue/main/pr-7-{base}"
        self.git("push", "-qf", "origin", f"{head}:{ref}")
        group = {"head_sha": head, "head_ref": ref, "base_sha": base, "base_ref": "refs/heads/main"}
        return Event(name="merge_group", payload={"merge_group": group, **self._repository()}, sha=head, ref=ref)

    def merge(self, number: int) -> Event:
        """Merge a pull request as it was tried, and return the push that follows."""
        before, after = self.git("rev-parse", "main"), self.hub.pulls[number]["merge_commit_sha"]
        self.git("merge", "-q", "--ff-only", after)
        self.git("push", "-q", "origin", "main")
        self.hub.pulls[number]["state"] = "closed"
        payload = {"before": before, "after": after, "ref": "refs/heads/main", **self._repository()}
        return Event(name="push", payload=payload, sha=after, ref="refs/heads/main")

    def scheduled(self, name: str = "schedule") -> Event:
        sha = self.git("rev-parse", "main")
        return Event(name=name, payload=self._repository(), sha=sha, ref="refs/heads/main")

    def ended(self, run: Any) -> Event:
        """Return what the default branch hears of the end of a run, whatever that run wrote."""
        pull = run.event.payload["pull_request"]
        head = pull["head"]
        told = {
            "id": run.id, "run_attempt": 1, "event": run.event.name, "conclusion": run.conclusion,
            "head_sha": head["sha"], "head_branch": head["ref"], "pull_requests": [],
            "head_repository": {"id": head["repo"]["id"], "owner": {"login": head["repo"]["owner"]["login"]}},
        }  # fmt: skip
        payload = {"workflow_run": told, **self._repository()}
        return Event(name="workflow_run", payload=payload, sha=self.git("rev-parse", "main"), ref="refs/heads/main")

    def _repository(self) -> dict[str, Any]:
        name = self.hub.repository
        return {"repository": {"id": repository_id(name), "full_name": name, "default_branch": "main"}}


def identity() -> dict[str, str]:
    """Return who commits, for those who have no git of their own set up."""
    who = {"NAME": "demo", "EMAIL": "demo@example.com"}
    return {
        f"GIT_{role}_{key}": os.environ.get(f"GIT_{role}_{key}", value)
        for role in ("AUTHOR", "COMMITTER")
        for key, value in who.items()
    }
