"""The runner that runs our actions in tests: what it understands it does as GitHub's, what it doesn't is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from action_bench import ActionBench
from action_expressions import ExpressionError, evaluate, interpolate
from action_machine import RunnerError, read_pairs
from github_fake import FakeGitHub

CONTEXTS: dict[str, Any] = {
    "github": {"event": {"merge_group": None, "pull_request": {"id": 7}}, "ref": "refs/heads/main", "sha": "abc"},
    "inputs": {"name": "gate", "empty": ""},
    "steps": {"gate": {"outputs": {"folder": "/tmp/x"}}},
}
FUNCTIONS = {"cancelled": lambda: False, "success": lambda: True}
JOB = """\
on: push
permissions: {{contents: read}}
jobs:
  job:
    runs-on: ubuntu-latest
    steps: {steps}
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.name", "gate"),
        ("inputs.empty || github.sha", "abc"),
        ("github.event.merge_group.base_sha", None),
        ("inputs.empty || github.event.merge_group.base_sha", None),
        ("github.event.pull_request.id == 7 && github.sha || ''", "abc"),
        ("github.event.pull_request.id == 8 && github.sha || ''", ""),
        ("inputs.name == 'GATE'", True),
        ("steps.gate.outputs.folder != '' && !cancelled()", True),
        ("steps.nothing.outputs.folder == ''", True),
        ("github.event.pull_request.id == '7'", True),
        ("github.sha == 0", False),
        ("github.event.merge_group == false", True),
        ("!(success() && cancelled())", True),
        ("'it''s'", "it's"),
        ("${{ inputs.name }}", "gate"),
    ],
)
def test_expressions_have_githubs_values(text: str, value: object) -> None:
    assert evaluate(text, CONTEXTS, FUNCTIONS) == value


@pytest.mark.parametrize(
    "text",
    ["inputs.nmae", "secrets.KEY", "hashFiles('x')", "github.sha ==", "a b", "(github.sha", "github.event[0]", "1 < 2"],
)
def test_what_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text, CONTEXTS, FUNCTIONS)


def test_holes_are_filled_with_words() -> None:
    filled = interpolate("${{ inputs.name }}-${{ github.event.merge_group }}-${{ cancelled() }}", CONTEXTS, FUNCTIONS)
    assert filled == "gate--false"


def test_outputs_may_have_lines_and_must_end() -> None:
    assert read_pairs("a=b=c\nd<<END\n1\n2\nEND\n") == {"a": "b=c", "d": "1\n2"}
    with pytest.raises(RunnerError, match="no end"):
        read_pairs("d<<END\n1\n")


@pytest.fixture
def run(hub: FakeGitHub, tmp_path: Path) -> Any:
    bench = ActionBench(tmp_path / "bench", hub)
    event = bench.scheduled("push")

    def run_steps(steps: str) -> Any:
        return bench.runner.run(JOB.format(steps=steps), event).job

    return run_steps


def test_a_failed_step_skips_the_next_unless_they_ask(run: Any) -> None:
    job = run(
        "[{id: a, run: exit 3}, {id: b, run: 'true'}, {id: c, if: '!cancelled()', run: 'true'}, "
        "{id: d, if: failure(), run: 'true'}, {id: e, if: 'github.sha', run: 'true'}]"
    )
    assert job.conclusion == "failure"
    assert {name: step.conclusion for name, step in job.steps.items()} == {
        "a": "failure", "b": "skipped", "c": "success", "d": "success", "e": "skipped",
    }  # fmt: skip


def test_files_and_commands_reach_later_steps_and_masks_the_log(run: Any) -> None:
    job = run(
        """
      - run: |
          echo "COLOR=red" >>"$GITHUB_ENV"
          echo "$PWD/bin" >>"$GITHUB_PATH"
          echo "## One" >>"$GITHUB_STEP_SUMMARY"
          echo "::add-mask::secret"
          echo "::stop-commands::x"; echo "::error::quoted"; echo "::x::"
          echo "::warning file=a%3A.py,line=3::careful%0Anow"
      - id: next
        run: echo "said=$COLOR ${PATH%%:*} secret" | tee -a "$GITHUB_OUTPUT"
"""
    )
    assert job.conclusion == "success", job.log
    assert job.steps["next"].outputs["said"].startswith("red ")
    assert "/bin " in job.steps["next"].outputs["said"]
    assert "## One" in job.summary
    assert job.annotations == [("warning", {"file": "a:.py", "line": "3"}, "careful\nnow")]
    assert job.log.rstrip().endswith("***")


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ("[{uses: actions/checkout@v6}]", "full SHA"),
        ("[{uses: 'stranger/action@" + "a" * 40 + "'}]", "no stand-in"),
        ("[{uses: unitrack/unitrack@v0, with: {canditate: x}}]", "canditate"),
        ("[{run: 'true', timeout: 3}]", "timeout"),
        ("[{run: 'echo ::set-output name=a::b'}]", "obsolete"),
    ],
)
def test_what_github_would_do_otherwise_is_refused(run: Any, steps: str, match: str) -> None:
    with pytest.raises(RunnerError, match=match):
        run(steps)
