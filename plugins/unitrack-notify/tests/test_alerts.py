"""Alerts on their way: from a training, from commands, once each and never a flood."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import toy
from unitrack.alerts import Carrier, Limits, Message
from unitrack.cli import main
from unitrack.dispatch.background import wait_until_sent
from unitrack.errors import RetryableError

TRAIN = """
import unitrack
run = unitrack.init(id="live", name="night shift")
run.log({"loss": 1.0}, step=1)
run.alert("Loss is NaN", "at step 1", level="error")
run.alert("Loss is NaN", "at step 1", level="error")
run.alert("Just so you know")
run.finish()
"""


@pytest.fixture
def project(tmp_path, monkeypatch, service):
    monkeypatch.chdir(tmp_path)
    Path("unitrack.toml").write_text(
        f'project = "digits"\n[backends.webhook]\nurl = "{service.url}"\nlevel = "warning"\n'
    )
    return tmp_path


def titles(service):
    return [json.loads(body)["title"] for _, _, _, body in service.asked]


def test_an_alert_of_a_training_arrives_once_with_what_it_is_about(project, service):
    subprocess.run([sys.executable, "-c", TRAIN], check=True)
    assert wait_until_sent(project / ".unitrack/runs/live", ["webhook"], 60.0) == []
    assert service.json() == {
        "title": "Loss is NaN", "text": "at step 1\nrun night shift (live) of digits", "level": "error",
    }  # fmt: skip
    assert titles(service) == ["Loss is NaN"]
    assert CliRunner().invoke(main, ["sync"]).exit_code == 0
    assert titles(service) == ["Loss is NaN"]


def test_an_alert_waits_for_a_service_that_is_down(project, service):
    service.answers = [(503, {}, ""), (503, {}, ""), (200, {}, "ok")]
    subprocess.run([sys.executable, "-c", TRAIN], check=True)
    assert wait_until_sent(project / ".unitrack/runs/live", ["webhook"], 60.0) == []
    assert titles(service) == ["Loss is NaN"] * 3


def test_a_store_that_is_sent_a_day_later_is_no_news(project, service):
    subprocess.run([sys.executable, "-c", TRAIN], check=True, env={**os.environ, "UNITRACK_MODE": "offline"})
    journal = next(Path(".unitrack/runs/live/journal").glob("*.jsonl"))
    yesterday = time.time() - 90_000
    lines = [{**json.loads(line), "time": yesterday} for line in journal.read_text().splitlines()][:-1]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    CliRunner().invoke(main, ["sync", "live"])
    assert titles(service) == []


def test_a_command_tells_all_notifiers_and_says_what_became_of_it(project, service):
    done = CliRunner().invoke(main, ["alert", "Hello", "Does this arrive?", "--level", "warning"])
    assert (done.exit_code, titles(service)) == (0, ["Hello"])
    again = CliRunner().invoke(main, ["alert", "Hello", "Does this arrive?", "--level", "warning", "--json"])
    assert json.loads(again.stdout) == [{"notifier": "webhook", "outcome": "repeated", "reason": None}]
    below = CliRunner().invoke(main, ["alert", "Hello"])
    assert "below level" in below.stdout
    service.answers = [(404, {}, "gone")]
    lost = CliRunner().invoke(main, ["alert", "Bye", "--level", "error"])
    assert lost.exit_code == 4
    assert "webhook could not be told 'Bye': the webhook at 127.0.0.1 answered 404: gone" in lost.stderr


def test_without_notifiers_the_command_says_how_to_have_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["alert", "Hello"], standalone_mode=False)
    assert "pip install unitrack-notify" in str(done.exception)


def test_a_failed_verdict_is_told(project, service):
    text = Path("unitrack.toml").read_text().partition("\n")[2]
    toy.make_project(project, settings=f"{toy.SETTINGS}\n{text}")
    toy.commit("Worse", LEVEL="0.80")
    assert toy.gate().exit_code == 1
    told = service.json()
    assert told["title"].startswith("toy: ")
    assert told["title"].endswith("is a regression")
    assert told["text"].startswith("acc: ")
    assert told["level"] == "error"


def test_a_tracker_that_cannot_be_reached_is_told_once(project, service):
    settings = Path("unitrack.toml")
    settings.write_text(settings.read_text() + '[backends.mlflow]\ntracking_uri = "http://127.0.0.1:9"\n')
    env = {**os.environ, "UNITRACK_MODE": "offline"}
    subprocess.run([sys.executable, "-c", TRAIN], check=True, env=env)
    for _ in range(2):
        assert CliRunner().invoke(main, ["sync", "--to", "mlflow", "--patience", "0"]).exit_code == 4
    assert titles(service) == ["unitrack can't send runs to mlflow"]
    assert "Nothing is lost" in service.json()["text"]


class Desk:
    name = "desk"

    def __init__(self):
        self.got, self.fails = [], False

    def notify(self, title, text, level):
        if self.fails:
            raise RetryableError("closed")
        self.got.append((title, text))


def test_an_equal_message_is_carried_again_after_a_while(tmp_path):
    now, desk = [1000.0], Desk()
    carrier = Carrier(desk, Limits(repeat=60.0), tmp_path / "x.json", clock=lambda: now[0])
    answers = []
    for second in (0, 30, 61):
        now[0] = 1000.0 + second
        answers.append(carrier.carry(Message(title="x")))
    assert answers == ["sent", "repeated", "sent"]


def test_what_could_not_be_carried_does_not_count(tmp_path):
    desk = Desk()
    carrier = Carrier(desk, Limits(), tmp_path / "x.json")
    desk.fails = True
    with pytest.raises(RetryableError):
        carrier.carry(Message(title="x"))
    desk.fails = False
    assert carrier.carry(Message(title="x")) == "sent"


def test_a_flood_is_held_back_and_counted_and_all_processes_count_together(tmp_path):
    now, desk = [1000.0], Desk()

    def carry(title):
        limits = Limits(limit=3)
        return Carrier(desk, limits, tmp_path / "x.json", clock=lambda: now[0]).carry(Message(title=title))

    assert [carry(str(number)) for number in range(5)] == ["sent"] * 3 + ["held back"] * 2
    now[0] += 3601
    assert carry("later") == "sent"
    assert desk.got[-1] == ("later", "(2 other messages were held back)")


def test_a_damaged_note_of_what_was_carried_stops_nothing(tmp_path):
    (tmp_path / "x.json").write_text("{")
    assert Carrier(Desk(), Limits(), tmp_path / "x.json").carry(Message(title="x")) == "sent"
