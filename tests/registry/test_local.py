"""The local registry: files in a folder, many processes at once."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from unitrack.errors import RegistryError, UsageError
from unitrack.registry import LocalRegistry, Registry, check_model_name, parse_reference
from unitrack.registry.base import whoever_runs_this
from unitrack.registry.lock import exclusive

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Clock:
    """Goes on by a minute at every look."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "registry", clock=Clock(), identity=lambda: "Ada")


def test_it_is_a_model_registry(registry: LocalRegistry) -> None:
    assert isinstance(registry, Registry)


def test_a_version_reads_back_as_it_was_registered(registry: LocalRegistry) -> None:
    made = registry.register(
        "digits",
        run="run-1",
        artifact="model",
        digest="sha256:ab",
        commit="c0ffee",
        metrics={"accuracy": 0.5, "loss": -math.inf},
        description="the first",
    )
    assert registry.get("digits:1") == made
    assert made.reference == "digits:1"
    assert made.metrics == {"accuracy": 0.5, "loss": -math.inf}
    assert (made.by, made.time, made.aliases) == ("Ada", NOON + timedelta(minutes=1), ("latest",))


def test_versions_and_models_are_listed_in_order(registry: LocalRegistry) -> None:
    for name in ("zebra", "digits", "digits"):
        registry.register(name, run="run-1")
    assert registry.models() == ("digits", "zebra")
    assert [version.reference for version in registry.versions("digits")] == ["digits:1", "digits:2"]


def test_an_empty_registry_has_no_models_and_makes_no_folder(registry: LocalRegistry) -> None:
    assert registry.models() == ()
    assert registry.find("digits@production") is None
    with pytest.raises(RegistryError, match="no model 'digits'; it has none yet"):
        registry.set_alias("digits", "champion", 1, reason="x")
    assert not registry.folder.exists()


def test_find_answers_none_where_get_raises(registry: LocalRegistry) -> None:
    registry.register("digits", run="run-1")
    assert registry.find("digits@production") is None
    with pytest.raises(RegistryError, match="none of its versions is in a stage"):
        registry.get("digits@production")
    assert registry.find("digits@latest") == registry.get("digits")


def test_find_does_not_hide_a_damaged_file(registry: LocalRegistry) -> None:
    registry.register("digits", run="run-1")
    (registry.folder / "digits.json").write_bytes(b"{")
    with pytest.raises(RegistryError, match="not JSON"):
        registry.find("digits@production")


def test_a_damaged_file_is_never_overwritten(registry: LocalRegistry) -> None:
    registry.register("digits", run="run-1")
    (registry.folder / "digits.json").write_bytes(b"{")
    with pytest.raises(RegistryError, match="not JSON"):
        registry.register("digits", run="run-2")
    assert (registry.folder / "digits.json").read_bytes() == b"{"


def test_promotion_and_rollback_leave_their_history(registry: LocalRegistry) -> None:
    for number in (1, 2):
        registry.register("digits", run=f"run-{number}")
        registry.set_stage("digits", number, "staging", reason="gate passed")
        registry.set_stage("digits", number, "production", reason="gate passed", by="Grace")
    assert registry.get("digits@production").version == 2
    assert registry.rollback("digits", reason="slow in production").version == 1
    assert registry.get("digits:2").stage == "retired"
    last = registry.history("digits")[-1]
    assert (last.action, last.by, last.reason) == ("rollback", "Ada", "slow in production")
    times = [change.time for change in registry.history("digits")]
    assert times == sorted(times)


def test_aliases_come_with_their_version(registry: LocalRegistry) -> None:
    registry.register("digits", run="run-1")
    registry.register("digits", run="run-2")
    assert registry.set_alias("digits", "champion", 1, reason="best").aliases == ("champion",)
    registry.delete_alias("digits", "champion", reason="not any more")
    assert registry.get("digits:1").aliases == ()


@pytest.mark.parametrize("reason", ["", "  ", "\n\x00"])
def test_a_change_without_a_reason_is_refused(registry: LocalRegistry, reason: str) -> None:
    registry.register("digits", run="run-1")
    with pytest.raises(RegistryError, match="needs a reason"):
        registry.set_stage("digits", 1, "staging", reason=reason)


def test_what_people_write_is_kept_on_one_line_without_control_characters(registry: LocalRegistry) -> None:
    registry.register("digits", run="run-1", by="Eve\x1b[2J\nRoot", commit="abc\n", metrics={"a\tb": 1.0})
    registry.set_alias("digits", "champion", 1, reason="first\nsecond \ud800")
    assert registry.get("digits").by == "Eve [2J Root"
    assert registry.get("digits").metrics == {"a b": 1.0}
    assert registry.history("digits")[-1].reason == "first second ?"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "a b", "a@b", "a:b", ".hidden", "-x", "ä", "x" * 129, "a\n", "a\0"]
)
def test_no_name_leads_out_of_the_folder(registry: LocalRegistry, name: str) -> None:
    for call in (registry.versions, registry.history, registry.get, lambda n: registry.register(n, run="run-1")):
        with pytest.raises(RegistryError):
            call(name)
    assert not registry.folder.exists()


@pytest.mark.parametrize("name", ["con", "NUL", "aux.v1", "Com1", "lpt9.x"])
def test_names_of_windows_devices_are_refused_everywhere(name: str) -> None:
    with pytest.raises(RegistryError, match="device on Windows"):
        check_model_name(name)


def test_names_that_differ_in_case_alone_are_refused(registry: LocalRegistry) -> None:
    registry.register("Digits", run="run-1")
    with pytest.raises(RegistryError, match="use 'Digits' or another name"):
        registry.register("digits", run="run-1")
    with pytest.raises(RegistryError, match="no model 'digits'; it has Digits"):
        registry.get("digits")


@pytest.mark.parametrize("reference", ["digits@", "digits:", "digits:x", "digits@a:3", "digits/3", "@a", "a b", "d:٣"])
def test_a_reference_that_is_none_is_refused(reference: str) -> None:
    with pytest.raises(RegistryError, match="does not name a model's version"):
        parse_reference(reference)


@pytest.mark.parametrize(
    "alias", ["", "a b", "a.b", "a/b", "x" * 256, "v1", "V12", "latest", "LATEST", "Staging", "a\n"]
)
def test_aliases_follow_the_rules_of_mlflow(registry: LocalRegistry, alias: str) -> None:
    registry.register("digits", run="run-1")
    with pytest.raises(RegistryError):
        registry.set_alias("digits", alias, 1, reason="x")
    assert len(registry.history("digits")) == 1


def test_a_bad_run_id_is_refused(registry: LocalRegistry) -> None:
    with pytest.raises(UsageError, match="can't be a run id"):
        registry.register("digits", run="../../etc")


def test_a_write_that_fails_changes_nothing(registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.register("digits", run="run-1")
    before = (registry.folder / "digits.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RegistryError, match=r"No space left on device; nothing was changed"):
        registry.register("digits", run="run-2")
    monkeypatch.undo()
    assert (registry.folder / "digits.json").read_bytes() == before
    assert registry.register("digits", run="run-2").version == 2


def test_only_the_model_is_left_for_git_to_see(registry: LocalRegistry) -> None:
    registry.register("digits", run="run-1")
    assert [path.name for path in registry.folder.iterdir() if not path.name.startswith(".")] == ["digits.json"]


def test_who_it_was_is_what_git_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Grace Hopper")
    assert whoever_runs_this(tmp_path / "not" / "yet") == "Grace Hopper"


def test_without_git_it_is_the_login_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "ada")
    assert whoever_runs_this(tmp_path) == "ada"


def test_a_lock_held_for_too_long_names_its_holder(registry: LocalRegistry) -> None:
    registry.register("digits", run="run-1")
    hasty = LocalRegistry(registry.folder, timeout=0.05)
    with exclusive(registry.folder / ".digits.lock", timeout=1):
        with pytest.raises(RegistryError, match=rf"held for 0.05 s by process {os.getpid()} on .*try again"):
            hasty.register("digits", run="run-2")
        assert hasty.get("digits").version == 1  # reading waits for nobody
        assert hasty.register("other", run="run-2").version == 1  # nor do other models
    assert hasty.register("digits", run="run-2").version == 2


def test_an_error_inside_lets_the_lock_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path / "lock", timeout=1):
        raise KeyError
    with exclusive(tmp_path / "lock", timeout=0):
        pass


def test_two_branches_that_register_meet_in_a_conflict_that_says_how_to_go_on(registry: LocalRegistry) -> None:
    folder = registry.folder

    def git(*words: str, check: bool = True) -> None:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=check, capture_output=True)

    def commit(run: str) -> None:
        registry.register("digits", run=run)
        git("add", "digits.json")
        git("commit", "-m", run)

    folder.mkdir()
    git("init", "-b", "main")
    commit("run-1")
    git("checkout", "-b", "other")
    commit("run-of-other")
    git("checkout", "main")
    commit("run-of-main")
    git("merge", "other", check=False)
    with pytest.raises(RegistryError, match="conflict markers"):
        registry.get("digits")
    git("checkout", "--ours", "--", str(folder / "digits.json"))
    registry.register("digits", run="run-of-other")
    assert [version.run for version in registry.versions("digits")] == ["run-1", "run-of-main", "run-of-other"]


@pytest.fixture
def start(registry: LocalRegistry) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def popen(code: str) -> subprocess.Popen[str]:
        head = f"""
            import sys
            from pathlib import Path
            from unitrack.registry import LocalRegistry
            registry = LocalRegistry(Path({str(registry.folder)!r}), identity=lambda: "process", timeout=120)
        """
        lines = "\n".join(line.strip() for line in head.splitlines()) + code
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, "-c", lines], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.communicate()


def test_two_hundred_registrations_from_eight_processes_are_all_there(
    registry: LocalRegistry, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    code = 'print("ready", flush=True); sys.stdin.read(1)\n'
    code += 'for i in range(25): registry.register("digits", run=f"run-{i}")\n'
    processes = [start(code) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=120)[1] == ""
        assert process.returncode == 0
    assert [version.version for version in registry.versions("digits")] == list(range(1, 201))
    assert len(registry.history("digits")) == 200


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("place", ["os.replace", "os.fsync", "tempfile.mkstemp"])
def test_a_writer_killed_in_the_middle_leaves_the_file_whole_and_the_lock_free(
    registry: LocalRegistry, start: Callable[[str], subprocess.Popen[str]], place: str
) -> None:
    registry.register("digits", run="run-1")
    before = (registry.folder / "digits.json").read_bytes()
    module, function = place.split(".")
    process = start(
        f"import {module}\n"
        f'{module}.{function} = lambda *_, **__: (print("there", flush=True), sys.stdin.read())\n'
        'registry.register("digits", run="run-2")\n'
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    with pytest.raises(RegistryError, match=f"held for 0.05 s by process {process.pid}"):
        LocalRegistry(registry.folder, timeout=0.05).register("digits", run="run-3")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert (registry.folder / "digits.json").read_bytes() == before
    assert registry.register("digits", run="run-3").version == 2
    assert not list(registry.folder.glob("*.tmp"))
    assert not list(registry.folder.glob(".*.tmp"))


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_writers_killed_at_any_moment_lose_nothing_that_was_acknowledged(
    registry: LocalRegistry, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    code = 'while True: print(registry.register("digits", run="run-1").version, flush=True)\n'
    acknowledged: list[int] = []
    for lines in (1, 4, 9):
        process = start(code)
        assert process.stdout is not None
        acknowledged += [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.communicate(timeout=30)[0].splitlines()]
    held = [version.version for version in registry.versions("digits")]
    assert held == list(range(1, len(held) + 1))
    assert set(acknowledged) <= set(held)
    assert len(set(acknowledged)) == len(acknowledged)
