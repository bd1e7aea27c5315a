"""Rules for all workflows and actions, ours and those that users copy; the linters' own opinion of them, too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from action_runner import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COPIED = sorted((ROOT / "examples" / "ci").glob("*.yml"))
ACTIONS = [ROOT / "action.yml", *sorted((ROOT / "actions").glob("*/action.yml"))]
SCRIPTS = sorted((ROOT / "actions").glob("*.sh"))
PAGE = ROOT / "docs" / "action.md"
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+){0,2}")


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(name)
    return subprocess.run([str(program), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def snippets() -> list[str]:
    """The YAML of the page about the action."""
    return re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def named(paths: list[Path]) -> Any:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(ROOT).as_posix())


def test_all_actions_and_workflows_are_looked_at() -> None:
    assert [path.parent.name for path in ACTIONS[1:]] == ["gate", "promote", "report", "train"]
    assert {path.stem for path in WORKFLOWS} >= {"tests", "release", "gate", "digits", "digits-report"}
    assert len(COPIED) >= 4


def test_github_understands_them(tmp_path: Path) -> None:
    done = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, [*WORKFLOWS, *COPIED]))
    assert done.returncode == 0, done.stdout
    done = tool("check-jsonschema", "--builtin-schema", "vendor.github-actions", *map(str, ACTIONS))
    assert done.returncode == 0, done.stdout
    done = tool("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    assert done.returncode == 0, done.stdout


def test_whole_workflows_of_the_page_are_ones(tmp_path: Path) -> None:
    whole = [text for text in snippets() if "jobs:" in text]
    assert whole
    for number, text in enumerate(whole):
        (tmp_path / f"{number}.yml").write_text(text)
    done = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, tmp_path.glob("*.yml")))
    assert done.returncode == 0, done.stdout


def test_the_strictest_linter_has_no_finding(tmp_path: Path) -> None:
    paths = [
        *map(str, [*WORKFLOWS, *COPIED, *ACTIONS]),
        ".github/dependabot.yml",
    ]  # a folder would be searched for its .github
    done = tool(
        "zizmor", "--offline", "--pedantic", "--no-progress", "--format=json", "--config=.github/zizmor.yml", *paths
    )
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout) == []
    bad = tmp_path / "bad.yml"
    bad.write_text("on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: 'echo ${{ github.head_ref }}'}]\n")
    assert tool("zizmor", "--offline", "--pedantic", "--no-progress", str(bad)).returncode != 0, "and it would see one"


def test_exceptions_from_the_linter_are_few_and_give_their_reason() -> None:
    ignored = [
        line
        for path in [*WORKFLOWS, *COPIED, *ACTIONS]
        for line in path.read_text(encoding="utf-8").splitlines()
        if "zizmor: ignore" in line
    ]
    assert all(len(line.partition("] ")[2]) > 20 for line in ignored)
    named = [(line.split("#")[0].strip(" -"), line.partition("ignore[")[2].partition("]")[0]) for line in ignored]
    assert sorted(named) == [
        ("uses: ./", "self-repository"),
        ("uses: ./actions/report", "self-repository"),
        ("workflow_run:", "dangerous-triggers"),
        ("workflow_run:", "dangerous-triggers"),
    ]


def test_the_project_gates_its_own_example_by_the_action_of_the_same_commit() -> None:
    tree = yaml.safe_load((ROOT / ".github/workflows/digits.yml").read_text(encoding="utf-8"))
    (job,) = tree["jobs"].values()
    (gate,) = [step for step in job["steps"] if step.get("uses") == "./"]
    assert gate["with"]["working-directory"] == "examples/digits"
    assert set(tree[True]) == {"pull_request", "merge_group", "push", "schedule", "workflow_dispatch"}


@named([*WORKFLOWS, *COPIED, *ACTIONS])
def test_the_actions_of_others_are_pinned_to_a_commit_with_its_version(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        found = re.search(r"^\s*(?:- )?uses: (.+)$", line)
        if found and not found[1].startswith(("unitrack/unitrack", "./")):
            assert PINNED.fullmatch(found[1]), line


def test_one_action_has_one_version_everywhere() -> None:
    texts = [path.read_text(encoding="utf-8") for path in [*WORKFLOWS, *COPIED, *ACTIONS, PAGE]]
    versions: dict[str, set[str]] = {}
    for name, pin in re.findall(r"uses: ([\w.-]+/[\w.-]+)[\w/-]*(@.+)", "\n".join(texts)):
        versions.setdefault(name, set()).add(pin)
    assert {name: pins for name, pins in versions.items() if len(pins) > 1} == {}
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    ours = {pin.split()[0] for pin in versions["unitrack/unitrack"]}
    assert ours == {f"@v{version[1]}"}, "what is released names itself"


@named(ACTIONS)
def test_inputs_reach_scripts_by_the_environment_alone(path: Path) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, one in tree["inputs"].items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert one["description"]
    for step in tree["runs"]["steps"]:
        assert "uses" not in step, "our actions need nobody else's"
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


@named([*WORKFLOWS, *COPIED])
def test_jobs_may_do_no_more_than_they_say(path: Path) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert tree["permissions"] == {}
    for job in tree["jobs"].values():
        assert set(job["permissions"].values()) <= {"read", "write"}
        assert "pull_request_target" not in str(tree.get("on", tree.get(True)))
        checkouts = [step for step in job["steps"] if "actions/checkout" in step.get("uses", "")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
        assert job["timeout-minutes"]


def test_what_a_stranger_can_start_may_only_read() -> None:
    for path in (ROOT / ".github/workflows/digits.yml", ROOT / "examples/ci/strangers-gate.yml"):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        for job in tree["jobs"].values():
            assert job["permissions"] == {"contents": "read"}
        assert "secrets" not in path.read_text(encoding="utf-8")


@named([*WORKFLOWS, *COPIED])
def test_a_cache_is_written_by_the_default_branch_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if "actions/cache/save" in text:
        tree = yaml.safe_load(text)
        triggers = tree.get("on", tree.get(True))
        assert set(triggers) <= {"push", "schedule", "workflow_dispatch"}
        assert triggers.get("push", {"branches": ["main"]}) == {"branches": ["main"]}
    assert not re.search(r"uses: actions/cache@", text), "which would save, too"


def test_every_python_and_three_systems_are_tested() -> None:
    tree = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert tree["jobs"]["all"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    systems = " ".join([tree["jobs"]["all"]["runs-on"], *tree["jobs"]["core"]["strategy"]["matrix"]["system"]])
    assert all(name in systems for name in ("ubuntu", "macos", "windows"))


@named(SCRIPTS)
def test_scripts_stop_at_the_first_error(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\nset -euo pipefail\n" in text
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the first table under a heading of the page, by their first cell."""
    part = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in part.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_page_tells_of_every_input_and_output() -> None:
    inputs: dict[str, set[str]] = {}
    outputs: set[str] = set()
    for path in ACTIONS:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = "(root)" if path.parent == ROOT else path.parent.name
        for one in tree["inputs"]:
            inputs.setdefault(one, set()).add(name)
        outputs |= set(tree["outputs"])
    told = rows("Inputs")
    assert {one: set(cells[0].replace("`", "").split(", ")) for one, cells in told.items()} == inputs
    assert set(rows("Outputs")) == outputs
