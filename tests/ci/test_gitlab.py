"""The report on GitLab: one note a merge request, a label for waivers, a status where it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from github_workbench import BAD, HEAD, MERGE, NOISY, SETTINGS, replaced, sound_verdict
from gitlab_fake import FakeGitLab

from unitrack.ci import gitlab
from unitrack.ci.context import Secret
from unitrack.ci.publication import Places, of_verdict
from unitrack.cli import main
from unitrack.errors import UsageError
from unitrack.gate.verdict import Verdict, Waiver, encode

NEW = "f" * 40


@pytest.fixture
def hub() -> Iterator[FakeGitLab]:
    with FakeGitLab() as hub:
        yield hub


class Job:
    """A job of a merge request's pipeline."""

    def __init__(self, hub: FakeGitLab, patch: pytest.MonkeyPatch) -> None:
        self.hub, self._patch = hub, patch
        Path("unitrack.toml").write_text(SETTINGS)
        Path(".git").mkdir()
        hub.add_merge(7, head=HEAD)
        self.set(
            GITLAB_CI="true", CI_API_V4_URL=hub.url, CI_PROJECT_ID=str(hub.project), CI_MERGE_REQUEST_IID="7",
            CI_COMMIT_SHA=HEAD, CI_PIPELINE_ID="1000", CI_JOB_ID="5000", CI_JOB_NAME="gate",
            CI_JOB_URL="https://gitlab.example/job/5000", GITLAB_TOKEN=hub.token(),
        )  # fmt: skip

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def report(self, *arguments: str, verdict: Verdict | None = None) -> Result:
        Path("v.json").write_bytes(encode(verdict or sound_verdict()))
        command = ["ci", "report", "--verdict", "v.json", "--patience", "5", *arguments]
        return CliRunner().invoke(main, command, prog_name="unitrack")


@pytest.fixture
def job(hub: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(hub, monkeypatch)


def test_a_verdict_becomes_a_note_that_the_next_pipeline_updates(job: Job, hub: FakeGitLab) -> None:
    done = job.report()
    assert done.exit_code == 0, done.output
    (note,) = hub.notes_of(7)
    assert "✅ Gate passed" in note
    assert len(hub.calls) <= 8
    job.set(CI_PIPELINE_ID="1001")
    job.report(verdict=sound_verdict(BAD))
    (note,) = hub.notes_of(7)
    assert "❌ Gate failed" in note
    assert hub.statuses == []


@pytest.mark.parametrize(("values", "code"), [(None, 0), (BAD, 1), (NOISY, 3)])
def test_the_job_ends_by_the_verdict_where_asked(job: Job, values: tuple[float, ...] | None, code: int) -> None:
    assert job.report("--exit-code", verdict=sound_verdict(values) if values else None).exit_code == code


def test_fifty_racing_jobs_leave_one_note(job: Job, hub: FakeGitLab) -> None:
    start, said = threading.Barrier(50), of_verdict(sound_verdict(), places=Places())
    token = hub.token()

    def racer(number: int) -> None:
        mine = gitlab.Job(
            project=hub.project, api_url=hub.url, token=Secret(token), sha=HEAD, head_sha=HEAD, merge_request=7,
            pipeline=number, job="gate",
        )  # fmt: skip
        api = gitlab.open_api(mine, patience=20)
        start.wait()
        done = gitlab.post(gitlab.GitLab(api, hub.project), mine, said, gate="gate")
        api.close()
        assert {one.state for one in done} <= {"done", "skipped"}

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(racer, range(50)))
    assert len(hub.notes_of(7)) == 1
    assert sum(call.startswith("POST") for call in hub.calls) > 1, "nobody raced"


@pytest.mark.parametrize("head", [NEW, None], ids=["newer", "not known yet"])
def test_a_verdict_of_another_head_writes_nothing(job: Job, hub: FakeGitLab, head: str | None) -> None:
    hub.add_merge(7, head=head, labels=("gate-waived",))
    done = job.report()
    assert hub.notes_of(7) == []
    assert hub.merges[7]["labels"] == ["gate-waived"]
    assert "superseded" in done.output


def test_a_merged_results_pipeline_reports_for_the_source_branch(job: Job, hub: FakeGitLab) -> None:
    job.set(CI_COMMIT_SHA=MERGE, CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=HEAD)
    assert job.report("--post", "comment", "--post", "status", verdict=sound_verdict(commit=MERGE)).exit_code == 0
    assert len(hub.notes_of(7)) == 1
    assert hub.statuses[0]["sha"] == MERGE, "where the pipeline is"


def test_a_verdict_about_another_commit_is_none(job: Job, hub: FakeGitLab) -> None:
    assert job.report(verdict=sound_verdict(commit=NEW)).exit_code == 4
    assert "nothing is let in" in hub.notes_of(7)[0]


def test_notes_of_others_and_of_the_system_are_left_alone(job: Job, hub: FakeGitLab) -> None:
    job.report()
    (ours,) = hub.notes_of(7)
    hub.notes.clear()
    hub.add_note(7, ours, "mallory")
    hub.add_note(7, ours, "project_42_bot", system=True)
    for number in range(120):
        hub.add_note(7, f"talk {number}", "octocat")
    job.report(verdict=sound_verdict(BAD))
    assert len(hub.notes) == 123
    assert sum("Gate failed" in body for body in hub.notes_of(7)) == 1


@pytest.mark.parametrize("line", ["/merge", "  /approve", "ok\n/close", "/label ~gate-waived"])
def test_no_text_of_a_verdict_is_a_quick_action(job: Job, hub: FakeGitLab, line: str) -> None:
    verdict = sound_verdict()
    job.report(
        verdict=replaced(
            verdict, summary=line, warnings=(line,), policy_source=line, reproduce=f"unitrack gate\n{line}"
        )
    )
    assert len(hub.notes_of(7)) == 1
    assert hub.actions == []


def waived() -> Verdict:
    verdict = sound_verdict(BAD)
    waiver = Waiver(id="w1", metric="acc", scope=HEAD, reason="agreed", who="me", created=1.77e9, expires=1.9e9)
    metrics = tuple(replaced(one, waived="w1") if one.name == "acc" else one for one in verdict.metrics)
    return replaced(
        verdict, metrics=metrics, waivers=(waiver,), outcome="pass", blocks=False, summary="acc failed and is waived."
    )


def test_a_waived_failure_is_labelled_and_other_labels_stay(job: Job, hub: FakeGitLab) -> None:
    hub.add_merge(7, head=HEAD, labels=("ml",))
    job.report(verdict=waived())
    assert hub.merges[7]["labels"] == ["ml", "gate-waived"]
    job.report(verdict=sound_verdict())
    assert hub.merges[7]["labels"] == ["ml"]


@pytest.mark.parametrize(("values", "state"), [(None, "success"), (BAD, "failed"), (NOISY, "failed")])
def test_a_status_where_it_is_asked_for(
    job: Job, hub: FakeGitLab, values: tuple[float, ...] | None, state: str
) -> None:
    verdict = sound_verdict(values) if values else None
    assert job.report("--post", "status", verdict=verdict).exit_code == 0
    (status,) = hub.statuses
    assert (status["status"], status["name"], status["pipeline_id"]) == (state, "unitrack/gate", 1000)
    assert hub.notes == {}
    done = job.report("--post", "status", verdict=verdict)
    assert done.exit_code == 0, done.output
    assert "already" in done.output


def test_what_the_tokens_role_may_not_do_is_said(job: Job, hub: FakeGitLab) -> None:
    job.set(GITLAB_TOKEN=hub.token(role="reporter"))
    done = job.report("--post", "status", "--post", "comment")
    assert done.exit_code == 4
    assert "the token needs the scope `api` and the role Developer" in done.output
    assert len(hub.notes_of(7)) == 1


def test_without_a_token_nothing_is_posted_and_the_job_still_ends_by_the_verdict(job: Job, hub: FakeGitLab) -> None:
    """As in the pipeline of a fork, which has no variables of this project."""
    job.set(GITLAB_TOKEN="", CI_JOB_TOKEN="glcbt-1")
    done = job.report("--exit-code", verdict=sound_verdict(BAD))
    assert (done.exit_code, hub.calls) == (1, [])
    assert job.report("--post", "comment").exit_code == 4


def test_a_branch_pipeline_has_no_merge_request(job: Job, hub: FakeGitLab) -> None:
    job.set(CI_MERGE_REQUEST_IID="")
    assert job.report().exit_code == 0
    assert hub.calls == []


@pytest.mark.parametrize("status", [429, 502])
def test_a_passing_fault_is_waited_out(job: Job, hub: FakeGitLab, status: int) -> None:
    hub.fail("POST", "/notes$", status, headers={"retry-after": "1"})
    assert job.report().exit_code == 0
    assert len(hub.notes_of(7)) == 1


def test_a_note_deleted_meanwhile_is_made_again(job: Job, hub: FakeGitLab) -> None:
    job.report()
    hub.fail("PUT", r"/notes/\d+$", 404)
    assert job.report(verdict=sound_verdict(BAD)).exit_code == 0
    assert "Gate failed" in hub.notes_of(7)[0]


def test_a_check_run_is_not_to_be_had(job: Job) -> None:
    done = job.report("--post", "check")
    assert done.exit_code == 2
    assert "use --post status" in done.output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CI_COMMIT_SHA", "HEAD"),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "HEAD"),
        ("CI_PROJECT_ID", "x"),
        ("CI_MERGE_REQUEST_IID", "7; DROP"),
        ("CI_API_V4_URL", "http://gitlab.example/api/v4"),
    ],
)
def test_variables_of_another_shape_are_wrong_use(job: Job, hub: FakeGitLab, name: str, value: str) -> None:
    job.set(**{name: value})
    assert job.report().exit_code == 2
    assert hub.calls == []


def test_the_variables_are_read_into_a_job_that_hides_the_token() -> None:
    environ: dict[str, Any] = {"CI_COMMIT_SHA": HEAD, "CI_PROJECT_ID": "1", "GITLAB_TOKEN": "glpat-secret"}
    found = gitlab.read_job(environ)
    assert (found.head_sha, found.merge_request, found.api_url) == (HEAD, None, "https://gitlab.com/api/v4")
    assert "glpat" not in repr(found)
    with pytest.raises(UsageError):
        gitlab.read_job({})
