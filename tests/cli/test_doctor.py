"""`unitrack doctor`: what it shows and what it finds wrong."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from unitrack.cli import doctor, main
from unitrack.hookspecs import HealthResult, hookimpl
from unitrack.plugins import Plugins


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plugins(monkeypatch):
    found = Plugins()
    monkeypatch.setattr(doctor, "load_plugins", lambda: found)
    return found


class Check:
    def __init__(self, name, check):
        self.name, self.check = name, check


def with_checks(*checks):
    class Plugin:
        @hookimpl
        def unitrack_register_health_checks(self):
            return checks

    return Plugin()


def ask(*args, env=None):
    return CliRunner().invoke(main, ["doctor", *args], env=env)


def findings(*args, env=None):
    result = ask("--json", env=env)
    return result.exit_code, json.loads(result.stdout)


def test_a_sound_project_is_healthy(folder, plugins):
    (folder / "unitrack.toml").write_text("mode = 'offline'\n")
    code, found = findings()
    assert (code, found["healthy"], found["problems"]) == (0, True, [])
    mode = next(each for each in found["settings"] if each["key"] == "mode")
    assert mode == {"key": "mode", "value": "offline", "source": f"{folder / 'unitrack.toml'}:1"}
    assert found["store"]["path"] == str(folder / ".unitrack")
    assert (found["store"]["exists"], found["store"]["writable"]) == (False, True)
    assert found["store"]["free"] > 0


def test_the_text_shows_every_setting_with_its_source(folder, plugins):
    (folder / "unitrack.toml").write_text("[train]\ncommand = ['a', 'b']\n[gate]\n")
    shown = ask(env={"UNITRACK_STRICT": "1"}).stdout
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert '["a","b"]' in lines["train.command"]
    assert lines["train.command"].endswith("unitrack.toml:2")
    assert lines["strict"].endswith("UNITRACK_STRICT")
    assert lines["train.timeout"].endswith("default")
    assert "nothing is wrong" in shown


def test_credentials_are_hidden_in_both_faces(folder, plugins):
    env = {"UNITRACK_BACKENDS__M__TOKEN": "s3cret", "UNITRACK_BACKENDS__M__URI": "http://u:s3cret@h"}
    for args in ((), ("--json",)):
        shown = ask(*args, env=env).stdout
        assert "s3cret" not in shown
        assert "***" in shown
        assert "UNITRACK_BACKENDS__M__TOKEN" in shown


def test_wrong_settings_end_with_2(folder, plugins):
    (folder / "unitrack.toml").write_text("projct = 'x'")
    result = ask()
    assert result.exit_code == 2
    assert "did you mean 'project'" in result.stderr


def test_a_backend_without_its_plugin_is_told_with_the_remedy(folder, plugins):
    (folder / "unitrack.toml").write_text("[backends.nowhere]")
    code, found = findings()
    assert code == 4
    assert "pip install unitrack-nowhere" in found["problems"][0]


def test_a_backend_with_an_environment_of_its_own_needs_only_its_interpreter(folder, plugins):
    (folder / "unitrack.toml").write_text("[backends.a]\npython = 'python3'\n[backends.b]\npython = './none/python'")
    code, found = findings()
    assert code == 4
    assert [problem.partition(" ")[0] for problem in found["problems"]] == ["backends.b.python"]


def test_a_processor_nobody_offers_is_told(folder, plugins):
    (folder / "unitrack.toml").write_text("processors = ['redact']")
    code, found = findings()
    assert code == 4
    assert "'redact', which no plugin offers" in found["problems"][0]


def fail():
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: HealthResult(ok=False, message="start the server"), "server: start the server"),
        (fail, "server: the check itself failed: RuntimeError: no"),
        (lambda: None, "server: the check itself failed: AttributeError"),
    ],
)
def test_a_check_that_fails_is_a_problem_whatever_way_it_fails(folder, plugins, check, message):
    plugins.register(
        with_checks(Check("good", lambda: HealthResult(ok=True, message="fine")), Check("server", check)), "p"
    )
    code, found = findings()
    assert code == 4
    assert [each["ok"] for each in found["checks"]] == [True, False]
    assert found["problems"][0].startswith(message)


def test_a_check_that_hangs_is_given_up(folder, plugins, monkeypatch):
    monkeypatch.setattr(doctor, "_PATIENCE", 0.05)
    release = threading.Event()
    plugins.register(with_checks(Check("slow", release.wait)), "p")
    code, found = findings()
    release.set()
    assert code == 4
    assert "no answer within" in found["problems"][0]


def test_a_plugin_that_failed_is_shown_and_makes_it_unhealthy(folder, plugins):
    class Broken:
        @hookimpl
        def unitrack_register_health_checks(self):
            raise RuntimeError("broken")

    plugins.register(Broken(), "broken")
    code, found = findings()
    assert code == 4
    assert any("broken" in problem for problem in found["problems"])
    assert next(each for each in found["plugins"] if each["name"] == "broken")["error"]


def test_a_store_nothing_can_be_written_to_is_told(folder, plugins):
    (folder / "file").write_text("")
    code, found = findings(env={"UNITRACK_DIR": str(folder / "file")})
    assert code == 4
    assert "nothing can be written to the store" in found["problems"][0]


def test_a_full_disk_is_told(folder, plugins, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    code, found = findings()
    assert code == 4
    assert "only 1.0 kB are free" in found["problems"][0]
