"""What `unitrack ci report` posts to GitHub: every request and every answer is checked against GitHub's description."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from fake_server import CUT
from github_fake import READ, SECONDARY, WRITE, FakeGitHub
from github_workbench import BAD, HEAD, MERGE, NOISY, Workbench, replaced, sound_verdict

from unitrack.ci import github_report
from unitrack.ci.context import Context, Secret
from unitrack.ci.github import BOT, GitHub, open_api
from unitrack.ci.github_report import CALLS, Names
from unitrack.ci.publication import Places, of_verdict
from unitrack.ci.runner import Annotation
from unitrack.gate.verdict import Verdict, Waiver

NEW = "f" * 40


def the_check(hub: FakeGitHub) -> dict[str, object]:
    (check,) = hub.checks.values()
    return check


@pytest.mark.parametrize(
    ("values", "conclusion", "line"),
    [(None, "success", "✅ Gate passed"), (BAD, "failure", "❌ Gate failed"), (NOISY, "failure", "❔ Gate undecided")],
)
def test_a_verdict_becomes_a_comment_and_a_check_run(
    bench: Workbench, hub: FakeGitHub, values: tuple[float, ...] | None, conclusion: str, line: str
) -> None:
    bench.pull_request()
    done = bench.report(verdict=sound_verdict(values) if values else None)
    assert done.exit_code == 0, done.output
    (comment,) = hub.comments_of(7)
    assert line in comment["body"]
    check = the_check(hub)
    assert (check["conclusion"], check["head_sha"], check["name"]) == (conclusion, HEAD, "unitrack/gate")
    assert line in str(check["summary"])
    assert len(hub.calls) <= CALLS


def test_an_undecided_gate_that_does_not_block_is_neutral(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.report(verdict=replaced(sound_verdict(NOISY), blocks=False))
    assert the_check(hub)["conclusion"] == "neutral"


def test_the_job_gets_summary_outputs_and_annotations_without_any_call(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.set(GITHUB_TOKEN="")
    done = bench.report(verdict=sound_verdict(BAD))
    assert "::error file=unitrack.toml,line=7,title=acc%3A fail::" in done.output
    assert "Gate failed" in bench.summary.read_text()
    outputs = bench.outputs()
    assert (outputs["verdict"], outputs["candidate"], outputs["baseline"]) == ("fail", HEAD, "b" * 40)
    assert Path(outputs["verdict-path"]).is_file()
    assert hub.calls == []


@pytest.mark.parametrize(
    ("flags", "values", "code"),
    [
        ((), BAD, 0), (("--enforce",), BAD, 1), (("--exit-code",), BAD, 1), (("--exit-code",), NOISY, 3),
        (("--enforce",), NOISY, 1), (("--exit-code",), (0.9, 0.91, 0.89, 0.92, 0.9), 0),
    ],
)  # fmt: skip
def test_the_exit_code_is_the_verdicts_only_where_asked(
    bench: Workbench, flags: tuple[str, ...], values: tuple[float, ...], code: int
) -> None:
    bench.pull_request()
    assert bench.report(*flags, verdict=sound_verdict(values)).exit_code == code


def test_a_missing_verdict_keeps_the_candidate_out(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    done = bench.run("report", "--verdict", "nowhere.json")
    assert done.exit_code == 4
    assert the_check(hub)["conclusion"] == "failure"
    assert "nothing is let in" in hub.comments_of(7)[0]["body"]
    assert bench.outputs()["verdict"] == "none"


# --- which commit ---


@pytest.mark.parametrize("commit", [HEAD, MERGE])
def test_a_verdict_about_the_head_or_its_test_merge_is_reported_at_the_head(
    bench: Workbench, hub: FakeGitHub, commit: str
) -> None:
    bench.pull_request()
    bench.report(verdict=sound_verdict(commit=commit))
    assert (the_check(hub)["conclusion"], the_check(hub)["head_sha"]) == ("success", HEAD)


@pytest.mark.parametrize("commit", [NEW, "b" * 40])
def test_a_verdict_about_another_commit_is_none(bench: Workbench, hub: FakeGitHub, commit: str) -> None:
    bench.pull_request()
    assert bench.report(verdict=sound_verdict(commit=commit)).exit_code == 4
    assert the_check(hub)["conclusion"] == "failure"


def test_under_pull_request_target_a_verdict_about_the_base_branch_does_not_count(
    bench: Workbench, hub: FakeGitHub
) -> None:
    hub.add_pull(7, head=HEAD)
    bench.event("pull_request_target", {"pull_request": hub.pulls[7]}, sha=NEW)
    assert bench.report(verdict=sound_verdict(commit=NEW)).exit_code == 4
    assert the_check(hub)["conclusion"] == "failure"


def test_a_run_of_the_default_branch_does_not_report_any_verdict_at_a_forks_commit(
    bench: Workbench, hub: FakeGitHub
) -> None:
    bench.workflow_run()
    assert bench.report(verdict=sound_verdict(commit=NEW)).exit_code == 4
    assert the_check(hub)["conclusion"] == "failure"


@pytest.mark.parametrize("event", ["schedule", "workflow_dispatch"])
def test_without_a_pull_request_a_verdict_is_posted_at_its_own_commit_only(
    bench: Workbench, hub: FakeGitHub, event: str
) -> None:
    bench.event(event, {"repository": {"default_branch": "main"}}, sha=HEAD)
    assert bench.report(verdict=sound_verdict(commit=NEW)).exit_code == 0
    assert (hub.calls, hub.checks) == ([], {})
    assert bench.report("--post", "check", verdict=sound_verdict(commit=NEW)).exit_code == 4
    assert bench.report(verdict=sound_verdict()).exit_code == 0
    assert the_check(hub)["head_sha"] == HEAD


def test_a_merge_group_gets_a_check_run_and_no_comment(bench: Workbench, hub: FakeGitHub) -> None:
    group = {"head_sha": HEAD, "head_ref": "refs/heads/gh-readonly-queue/main/pr-7-b", "base_sha": "b" * 40,
             "base_ref": "refs/heads/main"}  # fmt: skip
    bench.event("merge_group", {"merge_group": group}, sha=HEAD)
    assert bench.report().exit_code == 0
    assert [str(call) for call in hub.calls] == ["POST /repos/acme/models/check-runs"]


def test_a_verdict_of_an_old_head_does_not_replace_that_of_a_newer_one(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    hub.push(7, NEW)
    bench.report(verdict=sound_verdict(BAD))
    assert hub.comments_of(7) == []
    assert the_check(hub)["head_sha"] == HEAD, "a check run belongs to its own commit"


def test_a_push_between_the_look_and_the_write_is_seen(bench: Workbench, hub: FakeGitHub) -> None:
    """The head moves while the comments are listed; it is asked for after that."""
    bench.pull_request()
    hub.fail("GET", "/comments$", delay=0.5)
    mover = threading.Timer(0.2, hub.push, (7, NEW))
    mover.start()
    bench.report(verdict=sound_verdict(BAD))
    mover.join()
    assert hub.comments_of(7) == []


def test_an_old_step_that_comes_late_leaves_the_newer_comment(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.set(GITHUB_RUN_ID="1001")
    bench.report(verdict=sound_verdict())
    bench.set(GITHUB_RUN_ID="1000")
    done = bench.report(verdict=sound_verdict(BAD))
    assert "comment: done: superseded" in done.output
    assert "Gate passed" in hub.comments_of(7)[0]["body"]


# --- calls and annotations ---


def context_of(hub: FakeGitHub, token: str, *, run: int = 1) -> Context:
    return Context(
        event="pull_request", repository=hub.repository, api_url=hub.url, server_url="https://github.com",
        token=Secret(token), sha=MERGE, head_sha=HEAD, number=7, workflow="gate", job="report", run=run,
    )  # fmt: skip


def step(hub: FakeGitHub, token: str, *, verdict: Verdict, annotations: int = 0, run: int = 1) -> int:
    """Report as a step does; return how many calls it made."""
    made = tuple(
        Annotation(level="warning", path="unitrack.toml", line=1, title=f"{n}", message="x") for n in range(annotations)
    )
    said = replaced_publication(verdict, made)
    api = open_api(hub.url, Secret(token), patience=20)
    try:
        github_report.post(GitHub(api, hub.repository), context_of(hub, token, run=run), said, Names(author=BOT))
        return api.calls
    finally:
        api.close()


def replaced_publication(verdict: Verdict, annotations: tuple[Annotation, ...]):

    return msgspec.structs.replace(of_verdict(verdict, places=Places()), annotations=annotations)


@pytest.mark.parametrize("annotations", [0, 1, 50, 51, 100, 101, 149, 1000])
@pytest.mark.parametrize("there", [False, True], ids=["first", "again"])
def test_a_gate_makes_eight_calls_at_most_and_shows_the_annotations_that_fit(
    hub: FakeGitHub, annotations: int, there: bool
) -> None:
    hub.add_pull(7, head=HEAD)
    token = hub.token()
    if there:
        step(hub, token, verdict=sound_verdict(BAD))
        hub.checks.clear()
    for filler in range(99):
        hub.add_comment(7, f"talk {filler}", login="octocat")
    hub.pulls[7]["labels"] = [{**label_of("gate-waived")}]
    calls = step(hub, token, verdict=sound_verdict(), annotations=annotations, run=2)
    assert calls <= CALLS
    (check,) = hub.checks.values()
    shown = [one["title"] for one in check["annotations"]]
    assert shown == [str(n) for n in range(len(shown))]
    assert len(shown) >= min(annotations, 150)
    assert ("more annotations are not shown" in check["summary"]) == (len(shown) < annotations)
    assert hub.labels_of(7) == []


def label_of(name: str) -> dict[str, object]:
    return {"id": 1, "node_id": "x", "url": "https://api.github.com/x", "color": "ededed", "default": False,
            "name": name, "description": None}  # fmt: skip


def test_annotations_go_in_batches_of_fifty(hub: FakeGitHub) -> None:
    hub.add_pull(7, head=HEAD)
    step(hub, hub.token(), verdict=sound_verdict(), annotations=120)
    sizes = [len(call.body["output"]["annotations"]) for call in hub.calls if "check-runs" in call.path]
    assert sizes == [50, 50, 20]
    assert [call.method for call in hub.calls if "check-runs" in call.path] == ["POST", "PATCH", "PATCH"]


def test_fifty_racing_reports_leave_one_comment_and_none_makes_more_than_eight_calls(hub: FakeGitHub) -> None:
    hub.add_pull(7, head=HEAD)
    token, verdict = hub.token(), sound_verdict()
    start = threading.Barrier(50)

    def racer(number: int) -> int:
        start.wait()
        return step(hub, token, verdict=verdict, run=number + 1)

    with ThreadPoolExecutor(50) as pool:
        calls = list(pool.map(racer, range(50)))
    (left,) = hub.comments_of(7)
    assert "Gate passed" in left["body"]
    made = sum(call.method == "POST" and call.path.endswith("/comments") for call in hub.calls)
    assert made > 1, "nobody raced"
    assert max(calls) <= CALLS


# --- permissions ---


def test_what_the_token_may_not_do_is_said_and_the_rest_is_done(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.set(GITHUB_TOKEN=hub.token(permissions={**WRITE, "pull-requests": "read"}))
    done = bench.report()
    assert done.exit_code == 0
    assert "comment: refused" in done.output
    assert "give the job `pull-requests: write`" in done.output
    assert the_check(hub)["conclusion"] == "success"


@pytest.mark.parametrize(("values", "state"), [(None, "success"), (BAD, "failure"), (NOISY, "failure")])
def test_where_check_runs_may_not_be_written_a_status_stands_in(
    bench: Workbench, hub: FakeGitHub, values: tuple[float, ...] | None, state: str
) -> None:
    bench.pull_request()
    bench.set(GITHUB_TOKEN=hub.token(permissions={**WRITE, "checks": "read"}))
    bench.report(verdict=sound_verdict(values) if values else None)
    (status,) = hub.statuses
    assert (status["state"], status["sha"], status["context"]) == (state, HEAD, "unitrack/gate")
    assert len(status["description"]) <= 140


def test_a_gate_without_a_verdict_is_an_error_as_a_status(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.run("report", "--verdict", "nowhere.json", "--post", "status")
    assert hub.statuses[0]["state"] == "error"


def test_what_is_asked_for_must_work(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.set(GITHUB_TOKEN=hub.token(permissions=READ))
    assert bench.report().exit_code == 0
    done = bench.report("--post", "check")
    assert done.exit_code == 4
    assert "check: refused" in done.output
    bench.set(GITHUB_TOKEN="")
    assert bench.report("--post", "comment").exit_code == 4


def test_a_forks_job_posts_nothing_and_does_not_fail(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request(repository="stranger/models")
    bench.set(GITHUB_TOKEN=hub.token(permissions=READ))
    done = bench.report()
    assert (done.exit_code, hub.calls) == (0, [])
    assert "Gate passed" in bench.summary.read_text()


def test_only_github_token_is_used(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.set(GITHUB_TOKEN="", GH_TOKEN=hub.token(), UNITRACK_CI_TOKEN=hub.token(), GITHUB_PAT=hub.token())
    bench.report()
    assert hub.calls == []


def test_the_token_is_masked_and_shown_nowhere_else(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    token = hub.token()
    bench.set(GITHUB_TOKEN=token)
    hub.fail("POST", "/check-runs", 422, message=f"no {token}"[:40])
    done = bench.report()
    assert [line for line in done.output.splitlines() if token in line] == [f"::add-mask::{token}"]
    assert token not in bench.summary.read_text() + bench.output.read_text() + hub.comments_of(7)[0]["body"]


@pytest.mark.parametrize("prefix", ["", "/api/v3"], ids=["github.com", "enterprise"])
def test_the_address_of_an_enterprise_server_is_used_for_pages_too(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeGitHub(prefix=prefix) as hub:
        bench = Workbench(hub, monkeypatch)
        bench.pull_request()
        for number in range(130):
            hub.add_comment(7, f"talk {number}", login="octocat")
        assert bench.report().exit_code == 0
        assert len(hub.comments_of(7)) == 131


# --- trouble ---


def test_a_secondary_limit_is_waited_out(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    hub.fail("POST", "/comments$", 403, headers={"retry-after": "1"}, message=SECONDARY)
    hub.fail("POST", "/check-runs$", 429, headers={"retry-after": "1"}, message=SECONDARY)
    begin = time.monotonic()
    assert bench.report().exit_code == 0
    assert 2 <= time.monotonic() - begin < 10
    assert len(hub.comments_of(7)) == 1
    assert the_check(hub)["conclusion"] == "success"


@pytest.mark.parametrize(
    "headers",
    [{"retry-after": "600"}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "99999999999"}, {}],
    ids=["retry-after", "reset", "nothing said"],
)
def test_a_limit_beyond_our_patience_ends_the_step_soon(
    bench: Workbench, hub: FakeGitHub, headers: dict[str, str]
) -> None:
    bench.pull_request()
    hub.fail("GET", "/comments$", 403, headers=headers, message=SECONDARY, times=99)
    begin = time.monotonic()
    done = bench.report()
    assert done.exit_code == 4
    assert time.monotonic() - begin < 5
    assert "comment: failed" in done.output
    assert "run this step again later" in done.output
    assert the_check(hub)["conclusion"] == "success", "the check run does not wait for the comment"


@pytest.mark.parametrize("status", [500, 502, 503, CUT])
@pytest.mark.parametrize("lost", [False, True], ids=["not done", "answer lost"])
def test_a_fault_of_the_server_leaves_one_comment(bench: Workbench, hub: FakeGitHub, status: int, lost: bool) -> None:
    bench.pull_request()
    hub.fail("POST", "/comments$", status, lost=lost)
    assert bench.report("--post", "comment").exit_code == 0
    assert len(hub.comments_of(7)) == 1


@pytest.mark.parametrize(
    ("status", "pattern"), [(404, "/comments$"), (422, "/comments$"), (422, "/check-runs$"), (404, "/check-runs$")]
)
def test_a_refusal_is_told_with_the_servers_words(bench: Workbench, hub: FakeGitHub, status: int, pattern: str) -> None:
    bench.pull_request()
    hub.fail("POST", pattern, status, message="Validation Failed ::error::x ##[error]y")
    done = bench.report()
    assert done.exit_code == 4
    assert f"{status} Validation Failed" in done.output
    assert "##[" not in done.output


def test_a_slow_answer_costs_no_more_than_our_patience(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    hub.fail("GET", "/comments$", delay=4.0, times=1)
    begin = time.monotonic()
    done = bench.run("report", "--verdict", bench.verdict(), "--patience", "2", "--post", "comment")
    assert time.monotonic() - begin < 4.5
    assert done.exit_code == 4


def test_a_refused_token_is_named(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.set(GITHUB_TOKEN="ghs_expired")
    assert "the token is wrong or has expired" in bench.report().output


# --- labels and size ---


def waived(verdict: Verdict) -> Verdict:
    waiver = Waiver(id="w1", metric="acc", scope=HEAD, reason="agreed", who="octocat", created=1.77e9, expires=1.9e9)
    metrics = tuple(replaced(one, waived="w1") if one.name == "acc" else one for one in verdict.metrics)
    return replaced(
        verdict, metrics=metrics, waivers=(waiver,), outcome="pass", blocks=False, summary="acc failed and is waived."
    )


def test_a_waived_failure_is_labelled_and_the_label_goes_with_it(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.report(verdict=waived(sound_verdict(BAD)))
    assert hub.labels_of(7) == ["gate-waived"]
    assert len(hub.calls) <= CALLS
    bench.set(GITHUB_RUN_ID="1001")
    bench.report(verdict=sound_verdict())
    assert hub.labels_of(7) == []


def test_a_label_of_ones_own_or_none_at_all(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    bench.report("--label", "waived: ok?", verdict=waived(sound_verdict(BAD)))
    assert hub.labels_of(7) == ["waived: ok?"]
    bench.report("--label", "waived: ok?", verdict=sound_verdict())
    bench.report("--label", "", verdict=waived(sound_verdict(BAD)))
    assert hub.labels_of(7) == []


def test_a_long_report_in_any_script_fits_into_comment_and_check(bench: Workbench, hub: FakeGitHub) -> None:
    bench.pull_request()
    verdict = replaced(sound_verdict(), warnings=tuple(f"{n}: {'漢字🦖' * 70}" for n in range(400)))
    assert bench.report(verdict=verdict).exit_code == 0
    (comment,) = hub.comments_of(7)
    assert 20_000 < len(comment["body"].encode()) < 66_000
    assert len(str(the_check(hub)["summary"]).encode()) <= 65_535
