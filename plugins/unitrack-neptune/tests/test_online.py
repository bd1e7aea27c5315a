"""The online path of neptune-scale, against the stand-in server in support/ (see there what it can't prove)."""

from __future__ import annotations

import base64
import json
import time

import pytest
from neptune_server import WORD, Server

from unitrack import events
from unitrack.dispatch.dead_letter import read_dead


@pytest.fixture
def server(monkeypatch):
    made = Server()
    monkeypatch.setenv("NEPTUNE_API_TOKEN", made.token)
    yield made
    made.stop()


OPTIONS = {"mode": "online", "project": "w/p"}


def write(runs, *names, run_id="one", **fields):
    writer = runs.writer(run_id, **fields)
    for step, name in enumerate(names):
        writer.append(events.Metrics, {name: float(step)}, step)
    writer.seal("finished")
    return writer


def ingest(path):
    return path == "/api/client/v1/ingest"


def test_a_run_arrives_whole(server, runs):
    writer = runs.writer(name="first", tags=["a"], group="g")
    writer.append(events.Params, {"lr": 0.5, "opt": {"name": "adam"}, "n": 3})
    for step in (1, 2, 2, 1.5, None):
        writer.append(events.Metrics, {"loss": 1.0, "train/acc": 2.0}, step)
    writer.append(events.Metrics, {"loss": "NaN"}, 9)
    writer.append(events.Artifact, name="w.pt", kind="model", digest=runs.put(b"weights"))
    writer.append(events.Media, name="img", kind="image", format="png", step=1, digest=runs.put(b"png"))
    writer.append(
        events.Media, name="h", kind="histogram", format="json", step=1, inline={"edges": [0, 1], "counts": [2]}
    )
    writer.append(events.Console, stream="stdout", text="hello\n")
    writer.seal("failed")
    (result,) = runs.send(OPTIONS)
    assert (result.state, result.dead) == ("sent", 0)
    run = server.runs["one"]
    assert (run.created, run.experiment) == (1, "first")
    assert (run.fields["params/lr"], run.fields["params/opt/name"], run.fields["params/n"]) == (0.5, "adam", 3)
    assert run.series["metrics/loss"] == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert run.series["late/step/metrics/loss"] == [(0, 2.0), (1, 1.5)]
    assert run.series["nonfinite/metrics/loss"] == [(9, "NaN")]
    assert run.files["artifacts/w.pt"] == b"weights"
    assert run.series["media/img"] == [(1, b"png")]
    assert run.series["console/stdout"] == [(0, "hello\n")]
    assert run.tags == {"sys/tags": {"a"}, "sys/group_tags": {"g"}}
    assert (run.fields["unitrack/status"], run.fields["sys/failed"]) == ("failed", True)
    refused = [codes for codes in server.answers.values() if set(codes) - {"OK"}]
    assert refused == []


def test_sending_again_after_losing_every_cursor_leaves_one_of_everything(server, runs):
    write(runs, *["loss"] * 20)
    runs.send(OPTIONS)
    before = {**server.runs["one"].series}
    runs.forget()
    (result,) = runs.send(OPTIONS)
    assert (result.state, result.dead) == ("sent", 0)
    assert server.runs["one"].series == before


def test_an_answer_that_was_lost_leaves_one_of_every_point(server, runs):
    """The server takes the batch, the connection breaks before it can say so."""
    write(runs, *["loss"] * 20)
    left = [1]

    def fault(method, path, body):
        if ingest(path) and b"metrics/loss" in body and left:
            left.pop()
            server.answer(method, path, body, {"Authorization": "Bearer x"})
            return "drop"
        return None

    server.fault = fault
    assert runs.send(OPTIONS, patience=20.0)[0].state == "sent"
    assert left == []
    assert server.runs["one"].series["metrics/loss"] == [(step, float(step)) for step in range(20)]
    assert runs.lowered == []


def test_a_worker_that_forgets_in_the_middle_continues_where_it_was(server, runs):
    writer = runs.writer()
    for step in range(10):
        writer.append(events.Metrics, {"loss": float(step)}, step)
    assert runs.send(OPTIONS)[0].state == "live"
    for step in range(8, 12):
        writer.append(events.Metrics, {"loss": float(step)}, step)
    writer.seal("finished")
    assert runs.send(OPTIONS)[0].state == "sent"
    series = server.runs["one"].series
    assert series["metrics/loss"] == [(step, float(step)) for step in range(12)]
    assert series["late/value/metrics/loss"] == [(0, 8.0), (1, 9.0)]


@pytest.mark.parametrize("fault", [(429, {"Retry-After": "1"}), (503, {}), (500, {}), (408, {}), "drop"])
def test_a_busy_or_broken_server_is_asked_again(server, runs, fault):
    write(runs, "loss", "loss")
    left = [fault, fault]
    server.fault = lambda method, path, body: left.pop() if ingest(path) and left else None
    (result,) = runs.send(OPTIONS, patience=30.0)
    assert (result.state, result.dead) == ("sent", 0)
    assert left == []
    assert len(server.runs["one"].series["metrics/loss"]) == 2


@pytest.mark.parametrize("fault", ["drop", (500, {}), (429, {})])
def test_a_server_that_stays_away_costs_patience_and_what_was_sent_stays_sent(server, runs, fault):
    write(runs, *["loss"] * 30)
    seen = []
    server.fault = lambda method, path, body: fault if ingest(path) and (seen.append(path) or len(seen) > 4) else None
    began = time.monotonic()
    (result,) = runs.send({**OPTIONS, "batch": 5}, patience=2.0)
    assert (result.state, result.dead) == ("failed", 0)
    assert result.pending > 0
    assert time.monotonic() - began < 15.0
    server.fault = lambda method, path, body: None
    assert runs.send(OPTIONS)[0].state == "sent"
    assert len(server.runs["one"].series["metrics/loss"]) == 30


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials_are_told_at_once(server, runs, status):
    write(runs, "loss")
    server.fault = lambda method, path, body: (status, {}) if "oauth" in path or ingest(path) else None
    began = time.monotonic()
    (result,) = runs.send(OPTIONS, patience=30.0)
    assert result.state == "failed"
    assert "NEPTUNE_API_TOKEN" in result.reason
    assert time.monotonic() - began < 5.0


def test_a_token_of_another_server_is_refused_and_never_told(server, runs, monkeypatch):
    words = {"api_address": server.url, "api_url": server.url, "api_key": "another-secret"}
    token = base64.b64encode(json.dumps(words).encode()).decode()
    monkeypatch.setenv("NEPTUNE_API_TOKEN", token)
    write(runs, "loss")
    (result,) = runs.send(OPTIONS, patience=30.0)
    assert result.state == "failed"
    kept = b"".join(path.read_bytes() for path in runs.root.rglob("*") if path.is_file())
    for secret in (token, "another-secret", WORD):
        assert secret not in result.reason
        assert secret.encode() not in kept


@pytest.mark.parametrize(("token", "words"), [("", "not set"), ("%%%", "can't be read")])
def test_a_token_that_is_missing_or_garbled_is_told(server, runs, monkeypatch, token, words):
    monkeypatch.setenv("NEPTUNE_API_TOKEN", token)
    write(runs, "loss")
    (result,) = runs.send(OPTIONS)
    assert result.state == "failed"
    assert words in result.reason


def test_a_project_that_is_not_there_is_told(server, runs):
    write(runs, "loss")
    (result,) = runs.send({**OPTIONS, "project": "w/other"})
    assert result.state == "failed"
    assert "project" in result.reason


def test_what_a_server_refuses_is_found_and_the_rest_is_sent(server, runs):
    write(runs, *["fine"] * 10, "poison", *["fine"] * 10)
    fits = server._fits
    server._fits = lambda run, path, kind: "FIELD_PATH_INVALID" if "poison" in path else fits(run, path, kind)
    (result,) = runs.send(OPTIONS, patience=30.0)
    assert (result.state, result.dead) == ("sent", 1)
    (letter,) = read_dead(runs.folder(), "neptune")
    assert letter.record.event.values == {"poison": 10.0}
    assert "FIELD_PATH_INVALID" in letter.reason
    assert len(server.runs["one"].series["metrics/fine"]) == 20
    server._fits = fits
    (result,) = runs.send(OPTIONS, retry_dead=True, runs=["one"])
    assert (result.state, result.dead) == ("sent", 0)
    assert server.runs["one"].series["metrics/poison"] == [(10, 10.0)]


def test_another_process_in_the_same_series_is_told(server, runs):
    writer = runs.writer()
    writer.append(events.Metrics, {"loss": 0.0}, 0)
    runs.send(OPTIONS)
    server.runs["one"].last["metrics/loss"] = 100.0, 0.0
    for step in (1, 2):
        writer.append(events.Params, {"at": step})
        writer.append(events.Metrics, {"loss": 1.0}, step)
    writer.seal("finished")
    assert runs.send({**OPTIONS, "batch": 2})[0].state == "sent"
    assert ("step", "(server)") in runs.lowered


def test_the_server_of_the_options_wins_over_the_tokens(server, runs, monkeypatch):
    other = {"api_address": "http://127.0.0.1:9", "api_url": "http://127.0.0.1:9", "api_key": WORD}
    monkeypatch.setenv("NEPTUNE_API_TOKEN", base64.b64encode(json.dumps(other).encode()).decode())
    monkeypatch.setattr(Server, "token", property(lambda self: __import__("os").environ["NEPTUNE_API_TOKEN"]))
    write(runs, "loss")
    assert runs.send({**OPTIONS, "server": server.url})[0].state == "sent"
    assert "one" in server.runs


def test_offline_files_go_to_a_server_through_neptunes_own_sync(server, runs, scale, monkeypatch):
    """`neptune sync` is the client's own command: what it sends is what the plugin wrote."""
    from neptune_scale.cli.sync import SyncRunner

    write(runs, *["loss"] * 5, tags=["t"])
    runs.send({**scale.options, "project": "w/p"})
    (database,) = scale.places()
    runner = SyncRunner(api_token=server.token, run_log_file=database)
    runner.start()
    runner.wait(progress_bar_enabled=False, timeout=60)
    runner.stop()
    run = server.runs["one"]
    assert run.series["metrics/loss"] == [(step, float(step)) for step in range(5)]
    assert run.tags["sys/tags"] == {"t"}
    assert not database.exists()  # the client removes what it has sent
    assert not [codes for codes in server.answers.values() if set(codes) - {"OK"}]
    write(runs, "loss", "other", resumed=["x"])
    assert runs.send({**scale.options, "project": "w/p"})[0].state == "sent"
    again = SyncRunner(api_token=server.token, run_log_file=scale.places()[0])
    again.start()
    again.wait(progress_bar_enabled=False, timeout=60)
    again.stop()
    assert run.series["metrics/loss"] == [(step, float(step)) for step in range(5)]
    assert run.series["late/value/metrics/loss"] == [(0, 0.0)]
    assert run.series["metrics/other"] == [(1, 1.0)]
