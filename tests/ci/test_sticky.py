"""One comment a gate, whoever else writes and however many steps race."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from github_fake import BOT, FakeGitHub

from unitrack.ci.context import Secret
from unitrack.ci.github import GitHub, open_api
from unitrack.ci.sticky import Posted, Sticky, post

HEAD = "a" * 40


def sticky(run: int = 100, *, gate: str = "gate", author: str = BOT, attempt: int = 1) -> Sticky:
    return Sticky(workflow="ci", job="report", gate=gate, run=run, attempt=attempt, author=author)


def step(hub: FakeGitHub, token: str, mine: Sticky, body: str, *, head: str = HEAD) -> tuple[Posted, int]:
    api = open_api(hub.url, Secret(token), patience=5)
    try:
        github = GitHub(api, hub.repository)
        done = post(github.comments(7), mine, body, current=lambda: github.pull(7).head_sha == head)
        return done, api.calls
    finally:
        api.close()


@pytest.fixture
def token(hub: FakeGitHub) -> str:
    hub.add_pull(7, head=HEAD)
    return hub.token()


def test_fifty_racing_steps_leave_one_comment(hub: FakeGitHub, token: str) -> None:
    start = threading.Barrier(50)

    def racer(number: int) -> Posted:
        start.wait()
        return step(hub, token, sticky(), f"report {number}")[0]

    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(racer, range(50)))
    (left,) = hub.comments_of(7)
    assert left["body"].startswith(sticky().marker)
    assert {one.action for one in done} <= {"created", "updated", "superseded"}
    assert sum(call.method == "POST" for call in hub.calls) > 1, "nobody raced"


def test_the_next_step_updates_the_same_comment_and_one_that_says_nothing_new_leaves_it(
    hub: FakeGitHub, token: str
) -> None:
    assert step(hub, token, sticky(), "first") == (Posted(action="created", url=hub.comments_of(7)[0]["html_url"]), 4)
    done, calls = step(hub, token, sticky(101), "second")
    assert (done.action, calls) == ("updated", 3)
    assert step(hub, token, sticky(101), "second")[0].action == "unchanged"
    (left,) = hub.comments_of(7)
    assert left["body"].endswith("second")


def test_duplicates_of_a_killed_step_go_and_the_oldest_stays(hub: FakeGitHub, token: str) -> None:
    ids = [hub.add_comment(7, sticky().text(f"left {n}")) for n in range(3)]
    step(hub, token, sticky(), "now")
    (left,) = hub.comments_of(7)
    assert (left["id"], left["body"]) == (ids[0], sticky().text("now"))


def test_a_comment_that_others_wrote_is_theirs_whatever_it_says(hub: FakeGitHub, token: str) -> None:
    theirs = hub.add_comment(7, sticky().text("## Gate passed"), login="mallory")
    quoting = hub.add_comment(7, f"> {sticky().text('quoted')}")
    step(hub, token, sticky(), "ours")
    bodies = {one["id"]: one["body"] for one in hub.comments_of(7)}
    assert bodies.pop(theirs).endswith("## Gate passed")
    assert bodies.pop(quoting).startswith("> ")
    assert list(bodies.values()) == [sticky().text("ours")]


def test_gates_of_other_names_have_comments_of_their_own(hub: FakeGitHub, token: str) -> None:
    for name in ("gate", "gate-2", "--> <b>@x", "gate"):
        step(hub, token, sticky(gate=name), name)
    assert len(hub.comments_of(7)) == 3
    assert all("<b>" not in one["body"].splitlines()[0] for one in hub.comments_of(7))


def test_a_personal_token_finds_out_under_which_name_it_writes(hub: FakeGitHub, token: str) -> None:
    mine = hub.token(login="octocat")
    hub.add_comment(7, sticky().text("earlier"), login="octocat")
    step(hub, mine, sticky(), "now")
    (left,) = hub.comments_of(7)
    assert left["body"].endswith("now")


@pytest.mark.parametrize("there", [False, True])
def test_a_step_whose_commit_is_no_longer_the_head_writes_nothing(hub: FakeGitHub, token: str, there: bool) -> None:
    if there:
        hub.add_comment(7, sticky(99).text("earlier"))
    before = [one["body"] for one in hub.comments_of(7)]
    hub.push(7, "f" * 40)
    assert step(hub, token, sticky(), "stale")[0].action == "superseded"
    assert [one["body"] for one in hub.comments_of(7)] == before


def test_the_head_is_asked_for_right_before_the_update(hub: FakeGitHub, token: str) -> None:
    hub.add_comment(7, sticky(99).text("earlier"))
    step(hub, token, sticky(), "now")
    assert [call.method for call in hub.calls] == ["GET", "GET", "PATCH"]
    assert hub.calls[1].path.endswith("/pulls/7")


@pytest.mark.parametrize("later", [(101, 1), (100, 2)])
def test_an_earlier_run_leaves_the_word_of_a_later_one(hub: FakeGitHub, token: str, later: tuple[int, int]) -> None:
    run, attempt = later
    step(hub, token, sticky(run, attempt=attempt), "later")
    assert step(hub, token, sticky(100), "earlier")[0].action == "superseded"
    assert hub.comments_of(7)[0]["body"].endswith("later")


def test_a_comment_deleted_while_it_is_updated_is_made_again(hub: FakeGitHub, token: str) -> None:
    hub.add_comment(7, sticky(99).text("earlier"))
    hub.fail("PATCH", "/comments/", 404, message="Not Found", lost=False)
    assert step(hub, token, sticky(), "now")[0].action == "updated"
    assert hub.comments_of(7)[0]["body"].endswith("now")


def test_a_lost_answer_to_a_creation_leaves_one_comment(hub: FakeGitHub, token: str) -> None:
    hub.fail("POST", "/comments$", 502, lost=True)
    step(hub, token, sticky(), "now")
    (left,) = hub.comments_of(7)
    assert left["body"].endswith("now")


def test_a_comment_on_a_later_page_is_found(hub: FakeGitHub, token: str) -> None:
    for number in range(205):
        hub.add_comment(7, f"talk {number}", login="octocat")
    mine = hub.add_comment(7, sticky(99).text("earlier"))
    step(hub, token, sticky(), "now")
    assert hub.comments[mine]["body"].endswith("now")
    assert len(hub.comments_of(7)) == 206


def test_what_a_lagging_list_hid_is_tidied_up_by_the_next_steps_two_at_a_time() -> None:
    with FakeGitHub(visible_after=0.5) as hub:
        hub.add_pull(7, head=HEAD)
        token = hub.token()
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda n: step(hub, token, sticky(), f"{n}"), range(5)))
        hub.visible_after = 0.0
        step(hub, token, sticky(101), "next")
        assert len(hub.comments_of(7)) == 3
        step(hub, token, sticky(102), "last")
        (left,) = hub.comments_of(7)
        assert left["body"].endswith("last")
