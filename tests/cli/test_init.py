"""`unitrack init`: the file it writes, the store it makes, what it refuses."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from unitrack.cli import main
from unitrack.cli.init import settings_text
from unitrack.config import load_settings
from unitrack.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*args):
    return CliRunner().invoke(main, ["init", *args])


def test_it_writes_settings_that_load_and_makes_the_store(folder):
    result = init("--project", 'dig "its" \\', "--backend", "mlflow", "--backend", "other-one")
    assert result.exit_code == 0, result.output
    found = load_settings(folder, {})
    assert found.project == 'dig "its" \\'
    assert list(found.backends) == ["mlflow", "other-one"]
    assert found.store == folder / ".unitrack"
    assert (folder / ".unitrack" / ".gitignore").is_file()
    assert "unitrack.init(" in result.stdout


def test_the_project_is_named_after_the_folder(folder):
    init()
    assert load_settings(folder, {}).project == folder.name


@pytest.mark.parametrize(("name", "text"), [("unitrack.toml", "# mine"), ("pyproject.toml", "[tool.unitrack]\n")])
def test_settings_that_are_there_are_left_alone(folder, name, text):
    (folder / name).write_text(text)
    result = init()
    assert result.exit_code == 2
    assert str(folder / name) in result.stderr
    assert (folder / name).read_text() == text
    assert not (folder / ".unitrack").exists()


def test_settings_further_up_are_named_as_no_longer_in_force(folder, monkeypatch):
    (folder / "unitrack.toml").write_text("")
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    result = init()
    assert result.exit_code == 0
    assert f"instead of {folder / 'unitrack.toml'}" in result.stdout


@pytest.mark.parametrize("args", [("--project", "a\nb"), ("--backend", "a.b"), ("--backend", "")])
def test_a_name_that_cannot_stand_in_the_file_is_wrong_use(folder, args):
    assert init(*args).exit_code == 2
    assert list(folder.iterdir()) == []


def test_every_line_behind_a_mark_is_valid_when_the_mark_is_taken_off(folder):
    text = re.sub(r"(?m)^# (?=\[|\w+ = )", "", settings_text("x"))
    (folder / "unitrack.toml").write_text(text)
    found = load_settings(folder, {})
    own = ("audit", "backends", "check", "registries", "train.container", "evaluate")  # sections on pages of their own
    assert [key for key, source in found.sources.items() if source == "default" and not key.startswith(own)] == []


def test_the_values_behind_a_mark_are_the_defaults(folder):
    text = re.sub(r"(?m)^# (?=\w+ = )", "", settings_text("x")).partition("# One section")[0]
    (folder / "unitrack.toml").write_text(text)
    spelled, default = load_settings(folder, {}), load_settings(folder / "nowhere", {})
    names = "mode dispatch durability strict console capture system_metrics processors store"
    for name in names.split():
        assert getattr(spelled, name) == getattr(default, name)


def test_a_bad_name_is_told():
    with pytest.raises(UsageError, match="control characters"):
        settings_text("a\x00")
