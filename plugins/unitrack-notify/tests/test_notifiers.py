"""What arrives where, and what becomes of answers that are none."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json

import pytest

from unitrack.errors import ConfigError, FatalBackendError, RetryableError
from unitrack_notify import EmailFactory, GithubIssueFactory, SlackFactory, WebhookFactory

HOSTILE = "<!channel> <https://evil|click> @everyone ```"


def test_slack_gets_a_header_and_plain_text(service):
    SlackFactory().open({"url": f"{service.url}/services/T/B/secret"}).notify("Loss is NaN", HOSTILE, "error")
    sent = service.json()
    assert sent["text"] == "Loss is NaN"
    assert [block["type"] for block in sent["blocks"]] == ["header", "section"]
    assert {block["text"]["type"] for block in sent["blocks"]} == {"plain_text"}
    assert sent["blocks"][1]["text"]["text"] == HOSTILE


def test_slacks_fallback_text_mentions_nobody(service):
    SlackFactory().open({"url": service.url}).notify(HOSTILE, "x" * 9000, "info")
    sent = service.json()
    assert "<" not in sent["text"]
    assert len(sent["blocks"][0]["text"]["text"]) <= 150
    assert len(sent["blocks"][1]["text"]["text"]) <= 3000


def test_the_address_may_come_from_the_environment_and_must_come(monkeypatch, service):
    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    with pytest.raises(ConfigError, match="slack needs the option url or the variable SLACK_WEBHOOK_URL"):
        SlackFactory().open({})
    monkeypatch.setenv("SLACK_WEBHOOK_URL", service.url)
    SlackFactory().open({}).notify("hello", "", "info")
    assert len(service.asked) == 1
    with pytest.raises(ConfigError, match=r"needs an http:// or https:// address"):
        SlackFactory().open({"url": "file:///etc/passwd"})


@pytest.mark.parametrize(
    ("answer", "error", "after"),
    [
        ((429, {"Retry-After": "7"}, "rate_limited"), RetryableError, 7.0),
        ((429, {"Retry-After": "99999"}, "rate_limited"), RetryableError, 300.0),
        ((503, {}, ""), RetryableError, None),
        ((403, {"x-ratelimit-remaining": "0"}, ""), RetryableError, None),
        ((403, {}, "invalid_token"), FatalBackendError, None),
        ((404, {}, "no_service"), FatalBackendError, None),
        ((302, {"Location": "http://169.254.169.254/"}, ""), FatalBackendError, None),
    ],
)
def test_an_answer_is_what_it_means_and_never_shows_the_address(service, answer, error, after):
    service.answers = [answer]
    with pytest.raises(error) as caught:
        SlackFactory().open({"url": f"{service.url}/services/SECRET"}).notify("x", "", "info")
    assert "SECRET" not in str(caught.value)
    assert getattr(caught.value, "after", None) == after
    assert len(service.asked) == 1


def test_a_service_that_is_not_there_may_come_back_and_its_address_is_not_told():
    with pytest.raises(RetryableError) as caught:
        SlackFactory().open({"url": "http://127.0.0.1:9/SECRET"}).notify("x", "", "info")
    assert str(caught.value) == "Slack at 127.0.0.1 can't be reached: ConnectionError"


def test_a_webhook_gets_json_and_a_signature(service):
    WebhookFactory().open({"url": service.url, "secret": "s3cret"}).notify("Drift", "äöü", "warning")
    _, _, headers, body = service.asked[0]
    assert json.loads(body) == {"title": "Drift", "text": "äöü", "level": "warning"}
    wanted = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["X-Signature-256"] == f"sha256={wanted}"


def github(service, **options):
    return GithubIssueFactory().open({"repository": "a/b", "token": "t0ken", "api_url": service.url, **options})


def test_github_gets_an_issue_and_then_comments_on_it(service):
    service.answers = [(200, {}, "[]"), (201, {}, "{}")]
    github(service).notify("Drift in petal width", HOSTILE, "warning")
    (listed, made) = service.asked
    assert listed[:2] == ("GET", "/repos/a/b/issues?labels=unitrack&state=open&per_page=100")
    assert made[:2] == ("POST", "/repos/a/b/issues")
    assert made[2]["Authorization"] == "Bearer t0ken"
    issue = service.json(1)
    assert (issue["title"], issue["labels"]) == ("Drift in petal width", ["unitrack"])
    assert issue["body"].startswith("**warning**\n\n````text\n")  # a fence longer than any in the text
    service.answers = [(200, {}, json.dumps([{"title": issue["title"], "number": 7}])), (201, {}, "{}")]
    github(service).notify("Drift in petal width", "again", "warning")
    assert service.asked[-1][1] == "/repos/a/b/issues/7/comments"


def test_a_pull_request_of_the_same_title_is_no_issue(service):
    service.answers = [(200, {}, json.dumps([{"title": "x", "number": 7, "pull_request": {}}])), (201, {}, "{}")]
    github(service).notify("x", "", "info")
    assert service.asked[-1][1] == "/repos/a/b/issues"


@pytest.mark.parametrize("name", ["a", "../../x/y", "a/b/c", "a/b?x"])
def test_a_repository_that_is_none_is_refused(service, name):
    with pytest.raises(ConfigError, match="is no OWNER/NAME"):
        github(service, repository=name)


def mailer(mail, **options):
    fixed = {
        "host": "127.0.0.1",
        "port": mail.port,
        "security": "none",
        "from": "a@x.org",
        "to": ["b@x.org", "c@x.org"],
    }
    return EmailFactory().open({**fixed, **options})


def test_e_mail_arrives_as_plain_text_for_all(mail):
    mailer(mail).notify("Loss is NaN\nBcc: evil@x.org", "Zeile äöü", "error")
    message = email.message_from_bytes(mail.messages[0], policy=email.policy.default)
    assert message["Subject"] == "[unitrack error] Loss is NaN Bcc: evil@x.org"
    assert (message["To"], message["Bcc"], message["From"]) == ("b@x.org, c@x.org", None, "a@x.org")
    assert message.get_content_type() == "text/plain"
    assert message.get_content().strip() == "Zeile äöü"


@pytest.mark.parametrize(
    ("refuse", "error"),
    [
        ({"DATA": b"451 try later"}, RetryableError),
        ({"DATA": b"554 no spam"}, FatalBackendError),
        ({"RCPT": b"550 nobody of that name"}, FatalBackendError),
        ({"MAIL": b"421 too busy"}, RetryableError),
    ],
)
def test_what_a_mail_server_refuses_is_final_or_passes(mail, refuse, error):
    mail.refuse = refuse
    with pytest.raises(error, match=r"the mail server 127\.0\.0\.1"):
        mailer(mail).notify("x", "", "info")


def test_a_server_without_encryption_gets_nothing_where_encryption_is_asked(mail):
    with pytest.raises(FatalBackendError, match="STARTTLS"):
        mailer(mail, security="starttls").notify("x", "", "info")
    assert mail.messages == []


def test_e_mail_needs_addresses_and_a_password_for_its_user(mail, monkeypatch):
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="needs from"):
        mailer(mail, to=[])
    with pytest.raises(ConfigError, match="the variable SMTP_PASSWORD"):
        mailer(mail, user="me")
    with pytest.raises(ConfigError, match="holds a line break"):
        mailer(mail, to=["b@x.org\nBcc: e@x.org"])


@pytest.mark.parametrize("factory", [SlackFactory(), WebhookFactory(), EmailFactory(), GithubIssueFactory()])
def test_a_wrong_option_is_named(factory):
    with pytest.raises(ConfigError, match=r"unknown field `chanel`; its options are: "):
        factory.open({"chanel": "x"})
