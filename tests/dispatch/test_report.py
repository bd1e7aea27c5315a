"""What was lowered reaches the tracker as a document, the user as one line; credentials reach nobody."""

from __future__ import annotations

import json

import pytest

from unitrack.backend import ExportResult, Lowering, RetryableError
from unitrack.dispatch.background import tell_last_words
from unitrack.dispatch.discretion import Discretion
from unitrack.dispatch.messages import Job
from unitrack.dispatch.worker import Worker
from unitrack.events import Metrics
from unitrack.journal.cursor import load_cursor

SECRET = "s3cr3t-p4ssw0rd"


class Keeper:
    """Adds to the memory backend what `backend.KeepsReport` asks for."""

    def __init__(self, backend):
        self.backend, self.reports, self.fault = backend, [], None

    def create(self, options):
        keeper = self

        class Keeping(type(self.backend)):
            def keep_report(self, report):
                if keeper.fault:
                    raise keeper.fault
                keeper.reports.append(json.loads(report))

        one = Keeping()
        one.__dict__.update(self.backend.__dict__)
        return one


@pytest.fixture
def keeper(backend):
    backend.answer = lambda records: ExportResult(
        acked=len(records),
        lowered=tuple(
            Lowering(kind="step", name=name, detail="gone")
            for record in records
            if isinstance(record.event, Metrics)
            for name in record.event.values
        ),
    )
    return Keeper(backend)


@pytest.fixture
def send(runs, keeper):
    def send():
        told = []
        job = Job(store=str(runs.root), backend="memory", type="memory", patience=0.0)
        Worker(job, keeper, told.append, lambda _seconds: None).run()
        return told

    return send


def test_the_tracker_is_given_the_report_before_it_is_closed_and_again_only_when_there_is_more(runs, keeper, send):
    writer = runs.writer("one")
    writer.append(Metrics, {"a": 1.0}, 1)
    send()
    send()
    writer.append(Metrics, {"a": 2.0, "b": 1.0}, 2)
    send()
    writer.seal("finished")
    send()
    assert [[one["name"] for one in report["lowered"]] for report in keeper.reports] == [["a"], ["a", "b"]]
    assert keeper.reports[1]["run"] == "one" and keeper.reports[1]["backend"] == "memory"


@pytest.mark.parametrize("fault", [ValueError("a bug"), RetryableError("no room")])
def test_a_report_that_cannot_be_kept_is_told_and_the_run_is_sent_all_the_same(runs, keeper, send, fault):
    runs.finished("one")
    keeper.fault = fault
    told = send()
    assert [one.state for one in told if type(one).__name__ == "Result"] == ["sent"]
    assert str(fault) in next(one.text for one in told if type(one).__name__ == "Note")


def test_nothing_lowered_is_no_report(runs, keeper, send, backend):
    backend.answer = lambda records: ExportResult(acked=len(records))
    runs.finished("one")
    send()
    assert keeper.reports == []


def test_the_last_words_of_a_training_are_one_line_a_backend(runs, send, capsys):
    runs.finished("one")
    tell_last_words(runs.folder("one"), ["memory"], waited=False)
    assert capsys.readouterr().err == "", "it is on its way"
    tell_last_words(runs.folder("one"), ["memory"], waited=True)
    assert capsys.readouterr().err == "unitrack: memory: 7 events pending: unitrack sync one\n"
    send()
    tell_last_words(runs.folder("one"), ["memory"], waited=False)
    assert capsys.readouterr().err == "unitrack: memory: lowered 1 step: unitrack sync --status one\n"


# -- credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"http://user:{SECRET}@host:5000/api refused", "http://***@host:5000/api refused"),
        (f"GET https://{SECRET}@host/x failed", "GET https://***@host/x failed"),
        (f"401 for password {SECRET}", "401 for password ***"),
        ("Authorization: Basic dXNlcjpzM2NyM3Q0NTY3ODk=", "Authorization: Basic ***"),
        ("connection refused by 127.0.0.1:5000", "connection refused by 127.0.0.1:5000"),
        ("the basic trouble is unauthorized access", "the basic trouble is unauthorized access"),
    ],
)
def test_credentials_are_hidden_and_plain_words_are_not(text, hidden):
    assert Discretion({"MLFLOW_TRACKING_PASSWORD": SECRET, "HOME": "/root"}).text(text) == hidden


def test_a_password_inside_an_option_or_variable_is_hidden_where_a_client_spells_it_out():
    uri = f"http://user:{SECRET}@host"
    for discretion in (Discretion({}, {"tracking_uri": uri}), Discretion({"MLFLOW_TRACKING_URI": uri})):
        assert discretion.text(f"login of user with {SECRET} failed") == "login of user with *** failed"
    assert Discretion({}, {"a": {"token": SECRET}}).value({"x": [SECRET, 1], "target": uri}) == {
        "x": ["***", 1], "target": "http://***@host",
    }  # fmt: skip


def test_no_file_and_no_message_of_a_run_holds_a_credential(runs, backend, keeper, monkeypatch):
    """The tracker puts its URL and password into its state, its errors, what it lowers and what it rejects."""
    uri = f"http://user:{SECRET}@host"
    monkeypatch.setenv("TRACKER_API_KEY", SECRET)
    backend.target = uri
    lower = backend.answer
    backend.answer = lambda records: ExportResult(
        acked=lower(records).acked, lowered=(Lowering(kind="event", name="x", detail=f"see {uri}"),)
    )

    def trouble(records):
        if len(records) == 1 and isinstance(records[0].event, Metrics) and records[0].event.step == 1:
            raise ValueError(f"bad point at {uri}: {SECRET}")
        if any(isinstance(record.event, Metrics) for record in records) and len(records) > 1:
            raise ValueError("find it")

    backend.trouble = trouble
    runs.finished("one")
    runs.finished("two")
    told = []

    def wait(seconds):
        if seconds:
            backend.trouble = trouble

    job = Job(store=str(runs.root), backend="memory", type="memory", options={"uri": uri}, patience=5.0)
    Worker(job, keeper, told.append, wait).run()
    backend.trouble = lambda records: (_ for _ in ()).throw(RetryableError(f"{uri} with {SECRET} is down"))
    runs.finished("three")
    failing = Job(store=str(runs.root), backend="memory", type="memory", options={"uri": uri}, patience=0.0)
    Worker(failing, keeper, told.append, wait).run()
    kept = b"".join(path.read_bytes() for path in sorted(runs.root.rglob("*")) if path.is_file())
    assert b"bad point at http://***@host" in kept, "there is a dead letter to look into"
    assert "***" in (load_cursor(runs.folder("three"), "memory").error or "")
    assert load_cursor(runs.folder("one"), "memory").state == {"target": "http://***@host"}
    assert SECRET.encode() not in kept
    assert SECRET not in repr(told)
