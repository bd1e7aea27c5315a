"""The templates for other people's pipelines: valid, pinned, and run here as they stand, but for the installation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from as_action import AS_ACTION
from gitlab_fake import FakeGitLab
from toy import SETTINGS, commit, git, make_project

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/ci.md"
TEMPLATE = ROOT / "examples/ci/gitlab/.gitlab-ci.yml"
BRANCH = "topic's-$(touch${IFS}owned)-branch"


def template() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())
    return tree


def test_the_template_is_valid_by_gitlabs_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci"]
    done = subprocess.run([*command, "--data-transform", "gitlab-ci", str(TEMPLATE)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_template_runs_nothing_that_is_not_pinned() -> None:
    tree = template()
    assert tree[".unitrack"]["image"] == "$GATE_IMAGE"
    assert tree["variables"]["GATE_IMAGE"] == "FILL-IN@sha256:FILL-IN", "no image runs until its digest is filled in"
    (install,) = tree[".unitrack"]["before_script"]
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install


def test_only_the_job_that_trains_nothing_sees_the_token() -> None:
    tree = template()
    assert "environment" not in tree["unitrack-gate"]
    assert tree["unitrack-report"]["environment"]["name"] == "unitrack-report"
    assert tree["unitrack-report"]["script"] == ["unitrack ci report --verdict gate/verdict.json"]


def test_the_template_keeps_no_cache_that_a_merge_request_could_fill() -> None:
    assert not [name for name, job in template().items() if isinstance(job, dict) and "cache" in job]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a remote in which a merge request's branch is checked out, as GitLab's runner leaves it."""
    root = tmp_path / "work"
    root.mkdir()
    monkeypatch.chdir(root)
    make_project(root, settings=SETTINGS.replace("[0, 1, 2]", "[0, 1]"))
    git("config", "commit.gpgsign", "false")
    git("init", "-q", "--bare", "../remote.git")
    git("remote", "add", "origin", "../remote.git")
    git("push", "-q", "origin", "main")
    git("checkout", "-qb", BRANCH)
    return root


def environ_of(hub: FakeGitLab, head: str, **more: str) -> dict[str, str]:
    """The predefined variables of a merge request's pipeline that the template reads."""
    return {
        "GITLAB_CI": "true", "CI_PIPELINE_SOURCE": "merge_request_event", "CI_COMMIT_SHA": head,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": BRANCH,
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "42", "CI_PROJECT_ID": "42", "CI_API_V4_URL": hub.url,
        "CI_MERGE_REQUEST_IID": "7", "CI_PIPELINE_ID": "1", "CI_JOB_ID": "2", "CI_JOB_NAME": "unitrack-report", **more,
    }  # fmt: skip


def run_job(name: str, environ: dict[str, str], *, programs: Path | None = None) -> int:
    """Run a job's script, then its after_script whatever came of it; return the script's exit code."""
    job = template()[name]
    found = [str(programs or Path(sys.executable).parent), os.environ["PATH"]]
    env = {**os.environ, **AS_ACTION, **environ, "PATH": os.pathsep.join(found)}
    codes = [
        subprocess.run(["bash", "-eo", "pipefail", "-c", "\n".join(lines)], env=env, check=False).returncode
        for lines in (job["script"], job.get("after_script", ["true"]))
    ]
    assert codes[1] == 0
    return codes[0]


@pytest.mark.parametrize(("level", "code", "line"), [("0.92", 0, "Gate passed"), ("0.7", 1, "Gate failed")])
def test_the_template_gates_a_merge_request(project: Path, level: str, code: int, line: str) -> None:
    head = commit("Change", LEVEL=level)
    with FakeGitLab() as hub:
        hub.add_merge(7, head=head)
        environ = environ_of(hub, head)
        assert run_job("unitrack-gate", environ) == code
        assert run_job("unitrack-report", {**environ, "GITLAB_TOKEN": hub.token(role="reporter")}) == 0
        (note,) = hub.notes_of(7)
    assert line in note
    suite = ElementTree.parse("gate/junit.xml").getroot()
    assert suite.tag == "testsuites"
    assert bool(suite.findall(".//failure")) == (code == 1)
    assert "<html" in Path("gate/report.html").read_text()
    assert not (project / "owned").exists()


def test_a_gate_that_never_came_to_a_verdict_is_reported_and_fails(project: Path) -> None:
    head = commit("Broken", LEVEL="1 / 0")
    with FakeGitLab() as hub:
        hub.add_merge(7, head=head)
        environ = environ_of(hub, head, GITLAB_TOKEN=hub.token())
        assert run_job("unitrack-gate", environ) == 4
        assert run_job("unitrack-report", environ) == 4
        (note,) = hub.notes_of(7)
    assert "Gate has no verdict" in note


@pytest.mark.parametrize(("source", "told"), [("42", ["--branch", BRANCH]), ("43", [])])
def test_waivers_of_a_branch_are_not_for_a_strangers_branch_of_that_name(
    project: Path, tmp_path: Path, source: str, told: list[str]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "unitrack").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >said\n')
    (programs / "unitrack").chmod(0o755)
    with FakeGitLab() as hub:
        environ = environ_of(hub, git("rev-parse", "HEAD"), CI_MERGE_REQUEST_SOURCE_PROJECT_ID=source)
    assert run_job("unitrack-gate", environ, programs=programs) == 0
    said = Path("said").read_text().splitlines()
    assert said[:2] == ["gate", "--candidate"]
    assert said[5:-2] == told


def test_the_commands_of_the_pipeline_for_jenkins_gate_and_leave_reports(project: Path) -> None:
    (pipeline,) = re.findall(r"```groovy\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = re.findall(r"sh(?: |\(returnStatus: true, script: )'(.*?)'\)?$", pipeline, re.MULTILINE)
    assert len(commands) == pipeline.count(" sh ") + pipeline.count(" sh(") == 5
    commit("Worse", LEVEL="0.7")
    found = {**os.environ, **AS_ACTION, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    codes = [
        subprocess.run(["sh", "-e", "-c", command], env={**found, "CHANGE_TARGET": "main"}, check=False).returncode
        for command in commands
    ]
    assert codes == [0, 0, 1, 0, 0]
    assert ElementTree.parse("gate/junit.xml").getroot().findall(".//failure")
    assert "<html" in Path("gate/report.html").read_text()
