"""`unitrack lock`, and the gates and reruns that hold to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from toy import SETTINGS, gate, git, make_project, only_verdict

import unitrack
from unitrack.cli import _training, main
from unitrack.cli import lock as lock_module
from unitrack.config import load_settings
from unitrack.gate.verdict import read_verdict
from unitrack.hookspecs import DatasetVersion
from unitrack.plugins import load_plugins

WITH_INPUT = SETTINGS.replace("seeds = [0, 1, 2]\n", 'seeds = [0, 1, 2]\ninputs = ["data"]\n')
EVALUATED = (
    WITH_INPUT + '\n[evaluate]\ncommand = ["python", "evaluate.py"]\nmodel = "model"\ninputs = ["data", "labels.csv"]\n'
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path(".gitignore").write_text("data/\nlabels.csv\n.unitrack/\n")
    Path("requirements.txt").write_text("numpy==2.4.6\n")
    Path("data").mkdir()
    Path("data/rows.csv").write_text("1,2\n")
    Path("labels.csv").write_text("0\n")
    make_project(tmp_path, settings=WITH_INPUT)
    return tmp_path


def lock(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["lock", *arguments], prog_name="unitrack")


def test_what_training_depends_on_is_pinned_and_checked(project: Path) -> None:
    done = lock()
    assert done.exit_code == 0, done.output
    assert "the input data" in done.stdout
    assert "commit it" in done.stdout
    held = json.loads(Path("unitrack.lock").read_text())
    assert held["commands"] == {"train": ["python", "train.py", "{seed}"]}
    assert [(one["name"], one["files"], one["bytes"]) for one in held["inputs"]] == [("data", 1, 4)]
    assert list(held["dependencies"]) == ["requirements.txt"]
    assert held["image"] is None
    checked = lock("--check")
    assert (checked.exit_code, "up to date" in checked.stdout) == (0, True)


def test_equal_projects_have_equal_bytes_and_a_lock_that_holds_is_not_written_again(project: Path) -> None:
    lock()
    first, stamp = Path("unitrack.lock").read_bytes(), Path("unitrack.lock").stat().st_mtime_ns
    assert "up to date" in lock().stdout
    assert Path("unitrack.lock").stat().st_mtime_ns == stamp
    Path("unitrack.lock").unlink()
    lock()
    assert Path("unitrack.lock").read_bytes() == first


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: Path("data/rows.csv").write_text("1,3\n"), "the input data"),
        (lambda: Path("data/more.csv").write_text("4\n"), "the input data"),
        (lambda: Path("requirements.txt").write_text("numpy==2.4.7\n"), "requirements.txt"),
        (lambda: Path("requirements.txt").unlink(), "requirements.txt"),
        (lambda: Path("uv.lock").write_text("version = 1\n"), "uv.lock"),
        (lambda: Path("unitrack.toml").write_text(WITH_INPUT.replace("train.py", "./train.py")), "command of [train]"),
        (lambda: Path("unitrack.toml").write_text(EVALUATED), "command of [evaluate]"),
        (lambda: Path("unitrack.toml").write_text(EVALUATED), "the input labels.csv"),
        (lambda: Path("unitrack.toml").write_text(SETTINGS), "the input data"),
    ],
)
def test_whatever_drifts_is_shown_and_ends_with_one(project: Path, change, told: str) -> None:
    lock()
    change()
    done = lock("--check")
    assert done.exit_code == 1, done.output
    assert told in done.stdout
    assert "run `unitrack lock`" in done.stdout
    assert any(told in one["what"] for one in json.loads(lock("--check", "--json").stdout))
    assert lock().exit_code == 0
    assert lock("--check").exit_code == 0


def test_nothing_is_trained_while_the_lock_is_out_of_date(project: Path) -> None:
    assert gate("--seeds", "1").exit_code == 0, "a project needs no lock"
    lock()
    assert gate("--seeds", "1").exit_code == 0
    Path("data/rows.csv").write_text("other\n")
    done = gate("--seeds", "1")
    assert done.exit_code == 4
    assert "out of date: the input data changed" in done.stderr
    assert "unitrack lock" in done.stderr
    lock()
    assert gate("--seeds", "1").exit_code == 0


@pytest.mark.parametrize("change", ["removed", "edited"])
def test_the_lock_that_is_committed_is_the_one_that_counts(project: Path, change: str) -> None:
    lock()
    git("add", "unitrack.lock")
    git("commit", "-qm", "Lock")
    assert gate("--seeds", "1").exit_code == 0
    Path("data/rows.csv").write_text("kinder\n")
    Path("unitrack.lock").unlink()
    if change == "edited":
        lock()
    done = gate("--seeds", "1")
    assert done.exit_code == 4
    assert "not the one that is committed" in done.stderr


def test_a_commit_with_another_lock_is_trained_with_the_one_here_and_that_is_said(project: Path) -> None:
    lock()
    git("add", "unitrack.lock")
    git("commit", "-qm", "Lock")
    Path("data/rows.csv").write_text("5,6\n")
    lock()
    git("commit", "-qam", "Other data")
    done = gate("--seeds", "1", "--baseline", "HEAD~1")
    assert done.exit_code == 0, done.output
    assert "its unitrack.lock is another than the one here" in " ".join(read_verdict(only_verdict(project)).warnings)


def test_a_lock_that_is_not_there_can_not_be_checked(project: Path) -> None:
    done = lock("--check")
    assert done.exit_code == 2
    assert "make it with `unitrack lock`" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is no lock"),
        ("[]", "is not of type 'object'"),
        ('{"schema": 2}', "update unitrack"),
        ('{"schema": 1, "images": {}}', "images"),
        ('{"schema": 1, "image": {"asked": "x", "pinned": "x:1"}}', "image.pinned"),
        ('{"schema": 1, "image": {"asked": "x:1", "pinned": "y@sha256:%s"}}' % ("0" * 64), "is none of x:1"),
        ("[" * 100_000, "it is no lock"),
        ('{"schema": 1}' + " " * (5 << 20), "more than 4 MiB"),
    ],
)
@pytest.mark.parametrize("command", ["lock", "gate"])
def test_a_file_that_is_no_lock_is_named_with_what_is_wrong(project: Path, text: str, told: str, command: str) -> None:
    Path("unitrack.lock").write_text(text)
    done = lock() if command == "lock" else gate("--seeds", "1")
    assert done.exit_code == 2, done.output
    assert told in done.stderr
    assert "unitrack.lock" in done.stderr
    assert Path("unitrack.lock").read_text() == text


def test_a_project_that_does_not_train_has_nothing_to_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("unitrack.toml").write_text('project = "x"\n')
    assert lock().exit_code == 2
    assert not Path("unitrack.lock").exists()


class Resolver:
    """Knows the version of one folder and of one scheme, as a data version system would."""

    name = "shelf"

    def __init__(self, version: str) -> None:
        self.version = version

    def resolve(self, uri: str) -> DatasetVersion | None:
        if uri.startswith("shelf://broken"):
            raise OSError("no answer from https://mia:hunter2@shelf.example")
        known = uri.startswith("shelf://") or uri.endswith("/data")
        return DatasetVersion(uri=uri, version=self.version, digest=None) if known else None


def bring(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    class Bringer:
        @unitrack.hookimpl
        def unitrack_register_dataset_resolvers(self) -> list[Resolver]:
            return [Resolver(version)]

    plugins = load_plugins(load_settings())
    plugins.register(Bringer(), "bringer")
    for module in (lock_module, _training):
        monkeypatch.setattr(module, "load_plugins", lambda settings: plugins)


def test_versions_of_data_are_the_resolvers_word(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("unitrack.toml").write_text(WITH_INPUT.replace('["data"]', '["data", "shelf://digits"]'))
    git("commit", "-qam", "Inputs")
    bring(monkeypatch, "v1")
    assert lock().exit_code == 0
    held = {one["name"]: one for one in json.loads(Path("unitrack.lock").read_text())["inputs"]}
    assert (held["data"]["system"], held["data"]["version"], held["data"]["files"]) == ("shelf", "v1", 1)
    assert held["shelf://digits"] == {"name": "shelf://digits", "system": "shelf", "version": "v1"}
    assert gate("--seeds", "1").exit_code == 0
    bring(monkeypatch, "v2")
    done = gate("--seeds", "1")
    assert done.exit_code == 4
    assert "the input data changed, the input shelf://digits changed" in done.stderr


@pytest.mark.parametrize(
    ("uri", "told"), [("shelf://broken", "no answer from"), ("other://x", "nobody knows a version")]
)
def test_data_of_unknown_version_are_no_evidence(
    project: Path, monkeypatch: pytest.MonkeyPatch, uri: str, told: str
) -> None:
    Path("unitrack.toml").write_text(WITH_INPUT.replace('["data"]', f'["{uri}"]'))
    bring(monkeypatch, "v1")
    for done in (lock(), gate("--seeds", "1")):
        assert done.exit_code == 4
        assert told in done.stderr
        assert "hunter2" not in done.stderr
    assert not Path("unitrack.lock").exists()
