"""One call to a forge: authorised, bounded in time, tried again where that can help and nowhere else."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import responses

from unitrack.ci.context import Secret
from unitrack.ci.http import Api, RefusedError, pause_of, shaped
from unitrack.errors import RetryableError

URL = "https://api.forge.example"
TOKEN = "ghs_0123456789abcdef"


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def forge() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def api(clock: Clock) -> Iterator[Api]:
    made = Api(URL, Secret(TOKEN), patience=300, sleep=clock.sleep, clock=clock)
    yield made
    made.close()


def test_a_call_is_authorised_and_says_who_it_is(forge: responses.RequestsMock, api: Api) -> None:
    forge.get(f"{URL}/user", json={"login": "octocat"})
    assert api.call("GET", "/user").body == {"login": "octocat"}
    sent = forge.calls[0].request.headers
    assert (sent["Authorization"], sent["User-Agent"]) == (f"Bearer {TOKEN}", "unitrack")


def test_a_netrc_does_not_take_the_tokens_place(
    forge: responses.RequestsMock, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine api.forge.example login mallory password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    forge.get(f"{URL}/user", json={})
    api.call("GET", "/user")
    assert forge.calls[0].request.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("status", "headers", "message", "pause"),
    [
        (429, {"retry-after": "7"}, "", 7.0),
        (403, {"retry-after": "61"}, "secondary rate limit", 61.0),
        (403, {}, "You have exceeded a secondary rate limit.", 60.0),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "", 60.0),
        (429, {"retry-after": "\u00b2"}, "", 60.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1020"}, "", 21.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "900"}, "", 1.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, "", 60.0),
        (503, {"retry-after": "3"}, "", 3.0),
        (403, {}, "Resource not accessible by integration", None),
        (403, {"x-ratelimit-remaining": "41"}, "", None),
        (404, {}, "", None),
        (422, {}, "rate limit", None),
        (200, {"retry-after": "9"}, "", None),
    ],
)
def test_a_limit_is_waited_out_as_the_server_asks_and_a_refusal_is_final(
    status: int, headers: dict[str, str], message: str, pause: float | None
) -> None:
    assert pause_of(status, headers, message, 0, now=1000.0) == pause


def test_pauses_without_a_wish_grow_and_those_for_faults_stay_below_half_a_minute() -> None:
    assert [pause_of(429, {}, "", attempt, now=0) for attempt in range(3)] == [60.0, 120.0, 240.0]
    for attempt in (0, 3, 10, 2000):
        assert 0 < (pause_of(502, {}, "", attempt, now=0) or 0) <= 30.0


def test_a_call_goes_on_after_the_limit(forge: responses.RequestsMock, api: Api, clock: Clock) -> None:
    forge.get(f"{URL}/x", status=429, headers={"retry-after": "12"})
    forge.get(f"{URL}/x", status=502)
    forge.get(f"{URL}/x", json=1)
    assert api.call("GET", "/x").body == 1
    assert clock.pauses[0] == 12.0
    assert (len(clock.pauses), api.calls) == (2, 3)


@pytest.mark.parametrize("headers", [{"retry-after": "301"}, {"retry-after": "9" * 400}])
def test_a_limit_longer_than_our_patience_is_not_waited_for(
    forge: responses.RequestsMock, api: Api, clock: Clock, headers: dict[str, str]
) -> None:
    forge.get(f"{URL}/x", status=429, headers=headers, json={"message": "slow down"})
    with pytest.raises(RetryableError, match=r"GET /x: 429 slow down; run this step again later"):
        api.call("GET", "/x")
    assert (clock.pauses, api.calls) == ([], 1)


def test_all_calls_together_wait_no_longer_than_the_patience(
    forge: responses.RequestsMock, api: Api, clock: Clock
) -> None:
    forge.get(f"{URL}/x", status=503)
    with pytest.raises(RetryableError):
        api.call("GET", "/x")
    first = clock.now
    assert 200 < first <= 300
    with pytest.raises(RetryableError):
        api.call("GET", "/x")
    assert clock.now <= 300


def test_a_broken_connection_is_tried_again_and_then_told(forge: responses.RequestsMock, api: Api) -> None:
    forge.get(f"{URL}/x", body=requests.ConnectionError("reset"))
    forge.get(f"{URL}/x", body=requests.exceptions.ChunkedEncodingError("half"))
    forge.get(f"{URL}/x", json=[])
    assert api.call("GET", "/x").body == []
    forge.get(f"{URL}/y", body=requests.ConnectionError(f"reset {TOKEN}"))
    with pytest.raises(RetryableError, match=r"GET /y: ConnectionError") as told:
        api.call("GET", "/y")
    assert TOKEN not in str(told.value)


def test_what_can_never_be_sent_is_refused_at_once(forge: responses.RequestsMock, api: Api, clock: Clock) -> None:
    forge.get(f"{URL}/x", body=requests.exceptions.InvalidHeader("no such header"))
    with pytest.raises(RefusedError, match="can't be sent"):
        api.call("GET", "/x")
    assert clock.pauses == []


def test_an_answer_takes_no_longer_than_what_is_left_of_the_patience(clock: Clock) -> None:
    asked: list[float] = []

    class Session(requests.Session):
        def request(self, *_: Any, timeout: Any = None, **_more: Any) -> requests.Response:
            asked.append(timeout)
            clock.now += 4
            raise requests.ReadTimeout("slow")

    api = Api(URL, Secret(TOKEN), patience=10, timeout=30, sleep=clock.sleep, clock=clock, session=Session())
    with pytest.raises(RetryableError, match="ReadTimeout"):
        api.call("GET", "/x")
    assert asked[0] == 10
    assert all(before > after >= 1 for before, after in itertools.pairwise(asked))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_keeps_method_and_body_and_stays_on_the_server(
    forge: responses.RequestsMock, api: Api, status: int
) -> None:
    forge.post(f"{URL}/old", status=status, headers={"location": f"{URL}/new"})
    forge.post(f"{URL}/new", json={"id": 1}, match=[responses.matchers.json_params_matcher({"body": "x"})])
    assert api.call("POST", "/old", body={"body": "x"}).body == {"id": 1}


@pytest.mark.parametrize("elsewhere", ["https://evil.example/x", "http://api.forge.example/x", "//evil.example/x"])
def test_the_token_goes_to_no_other_server(forge: responses.RequestsMock, api: Api, elsewhere: str) -> None:
    forge.get(f"{URL}/x", status=302, headers={"location": elsewhere})
    forge.get(f"{URL}/pages", json=[1], headers={"link": f'<{elsewhere}>; rel="next"'})
    with pytest.raises(RefusedError, match="the token is not for it|sends us to"):
        api.call("GET", "/x")
    if not elsewhere.startswith("//"):
        with pytest.raises(RefusedError, match="sends us to"):
            list(api.pages("/pages", query={}))
    assert len(forge.calls) == (1 if elsewhere.startswith("//") else 2)


def test_a_list_is_read_over_all_its_pages(forge: responses.RequestsMock, api: Api) -> None:
    forge.get(f"{URL}/list", json=[1, 2], headers={"link": f'<{URL}/list?page=2>; rel="next"'})
    forge.get(f"{URL}/list?page=2", json=[3], headers={"link": f'<{URL}/list>; rel="first"'})
    assert list(api.pages("/list", query={"state": "open"})) == [1, 2, 3]
    assert "per_page=100" in str(forge.calls[0].request.url)


@pytest.mark.parametrize(
    ("body", "said"),
    [("<html>proxy</html>", "no JSON came back"), ('{"a": 1}', "not what the API describes"), ("\xff", "no JSON")],
)
def test_an_answer_of_another_shape_is_told_and_not_believed(
    forge: responses.RequestsMock, api: Api, body: str, said: str
) -> None:
    forge.get(f"{URL}/list", body=body.encode("latin-1"))
    with pytest.raises(RefusedError, match=said):
        list(api.pages("/list", query={}))


def test_a_shape_names_what_is_missing() -> None:
    with pytest.raises(RefusedError, match="the comment: the answer is not what the API describes: .*`id`"):
        shaped({"body": "x"}, msgspec.defstruct("Made", [("id", int)]), "the comment")


def test_an_endless_answer_is_refused(forge: responses.RequestsMock, api: Api) -> None:
    forge.get(f"{URL}/x", body=b'"' + b"x" * (33 << 20) + b'"')
    with pytest.raises(RefusedError, match="too many for an answer"):
        api.call("GET", "/x")


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "wrong or has expired"), (403, "lacks a permission"), (404, "may not see it"), (410, "410"), (422, "422")],
)
def test_a_refusal_says_why_on_one_line(forge: responses.RequestsMock, api: Api, status: int, hint: str) -> None:
    forge.post(f"{URL}/x", status=status, json={"message": "No\n::error::way", "errors": [{"field": "body"}] * 200})
    with pytest.raises(RefusedError, match=hint) as told:
        api.call("POST", "/x", body={})
    assert told.value.status == status
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 500
    assert ("field" in str(told.value)) == (status == 422)


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(TOKEN)
    shown = [str(secret), repr(secret), f"{secret}", f"{[secret]}"]
    assert not any(TOKEN in one for one in shown)
    assert secret.reveal() == TOKEN
    assert not Secret("")


def test_the_clock_is_a_real_one_unless_given(forge: responses.RequestsMock, wait_of: Callable[[], float]) -> None:
    forge.get(f"{URL}/x", status=429, headers={"retry-after": "0"})
    forge.get(f"{URL}/x", json=1)
    api = Api(URL, Secret(TOKEN), patience=5)
    assert api.call("GET", "/x").body == 1
    assert wait_of() < 5
    api.close()


@pytest.fixture
def wait_of() -> Callable[[], float]:
    start = time.monotonic()
    return lambda: time.monotonic() - start
