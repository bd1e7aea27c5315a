"""`unitrack models`: what it prints, what it takes from a run, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from unitrack import events
from unitrack.cli import main, models
from unitrack.errors import RegistryError, RunNotFoundError, UsageError
from unitrack.journal.layout import create_store, run_dir
from unitrack.journal.writer import JournalWriter, WriterInfo
from unitrack.registry import STAGES
from unitrack.registry.changes import TRANSITIONS

Ask = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    create_store(tmp_path / ".unitrack")
    return tmp_path / ".unitrack"


@pytest.fixture
def ask(store: Path) -> Ask:
    def invoke(*words: object, fails: type[Exception] | None = None) -> Result:
        result = CliRunner().invoke(main, ["models", *map(str, words)], standalone_mode=False)
        if fails is None and result.exception is not None:
            raise result.exception
        assert fails is None or isinstance(result.exception, fails), result
        return result

    return invoke


def a_run(store: Path, run_id: str, *artifacts: events.Artifact | tuple[str, str], status: str = "finished") -> None:
    writer = JournalWriter(run_dir(store, run_id), WriterInfo(run=run_id))
    writer.append(events.RunStarted, project="digits")
    writer.append(events.Capture, name="git", values={"commit": "c0ffee" * 6 + "abcd"})
    writer.append(events.Metrics, {"val/accuracy": 0.75}, 1)
    writer.append(events.Summary, {"note": "good", "size": 12, "converged": True})
    for name, kind in artifacts:
        writer.append(events.Artifact, name=name, kind=kind, digest=f"sha256:{name}")
    writer.seal(status)


def promoted(ask: Ask, store: Path, count: int = 2) -> None:
    a_run(store, "run-1", ("model", "model"))
    for number in range(1, count + 1):
        ask("register", "digits", "--run", "run-1", "--by", "Ada")
        for stage in ("staging", "production"):
            ask("stage", "digits", number, stage, "--reason", "gate passed", "--by", "Ada")


def shown(ask: Ask, *words: str) -> object:
    return json.loads(ask(*words, "--json").stdout)


def test_register_takes_digest_commit_and_numbers_from_the_run(ask: Ask, store: Path) -> None:
    a_run(store, "run-1", ("first", "model"), ("last", "model"), ("plot", "file"))
    assert ask("register", "digits", "--run", "run-1").stdout == "digits:1\n"
    version = shown(ask, "show", "digits:1")
    assert (version["run"], version["artifact"], version["digest"]) == ("run-1", "last", "sha256:last")
    assert version["commit"] == "c0ffee" * 6 + "abcd"
    assert version["metrics"] == {"size": 12, "val/accuracy": 0.75}


def test_register_takes_the_artifact_and_commit_it_is_told(ask: Ask, store: Path) -> None:
    a_run(store, "run-1", ("first", "model"), ("last", "model"))
    ask("register", "digits", "--run", "run-1", "--artifact", "first", "--commit", "abc", "--description", "why not")
    version = shown(ask, "show", "digits@latest")
    assert (version["artifact"], version["commit"], version["description"]) == ("first", "abc", "why not")


def test_register_of_an_artifact_the_run_lacks_says_what_it_has(ask: Ask, store: Path) -> None:
    a_run(store, "run-1", ("model", "model"), ("plot", "file"))
    result = ask("register", "digits", "--run", "run-1", "--artifact", "modell", fails=UsageError)
    assert str(result.exception) == "run run-1 has logged no artifact 'modell'; it has model, plot"
    assert shown(ask, "list") == []


def test_register_warns_of_a_run_that_failed_or_made_no_model(ask: Ask, store: Path) -> None:
    a_run(store, "run-1", status="failed")
    result = ask("register", "digits", "--run", "run-1")
    assert result.stdout == "digits:1\n"
    assert "run run-1 is failed, not finished" in result.stderr
    assert "run run-1 has logged no model" in result.stderr


def test_register_of_a_run_that_is_not_there_makes_no_model(ask: Ask) -> None:
    ask("register", "digits", "--run", "run-9", fails=RunNotFoundError)
    assert shown(ask, "list") == []


def test_list_shows_what_is_in_production(ask: Ask, store: Path) -> None:
    promoted(ask, store)
    ask("alias", "digits", "champion", 1, "--reason", "the first")
    assert ask("list").stdout.splitlines()[1].split()[:4] == ["digits", "2", "2", "-"]
    (row,) = shown(ask, "list")
    assert (row["name"], row["versions"], row["latest"], row["production"]) == ("digits", 2, 2, 2)
    assert row["aliases"] == {"champion": 1}


def test_an_empty_list_says_how_to_fill_it(ask: Ask) -> None:
    assert "unitrack models register NAME --run RUN" in ask("list").stdout


def test_list_shows_the_others_when_one_file_is_damaged_and_fails(ask: Ask, store: Path) -> None:
    promoted(ask, store, 1)
    (store / "registry" / "broken.json").write_text("<<<<<<< HEAD\n")
    result = CliRunner().invoke(main, ["models", "list"])
    assert result.exit_code == 2
    assert "digits" in result.stdout
    assert "broken.json:1: git left conflict markers" in result.stderr


def test_show_lists_versions_newest_first(ask: Ask, store: Path) -> None:
    promoted(ask, store)
    rows = [line.split()[:2] for line in ask("show", "digits").stdout.splitlines()]
    assert rows == [["version", "stage"], ["2", "production"], ["1", "retired"]]
    assert [version["version"] for version in shown(ask, "show", "digits")] == [1, 2]


def test_show_of_one_version_shows_all_of_it(ask: Ask, store: Path) -> None:
    promoted(ask, store)
    output = ask("show", "digits@production").stdout
    for fact in ("digits:2", "run-1", "sha256:model", "c0ffee" * 6, "val/accuracy", "0.75"):
        assert fact in output


def test_alias_points_and_is_taken_away(ask: Ask, store: Path) -> None:
    promoted(ask, store)
    assert ask("alias", "digits", "champion", 1, "--reason", "x").stdout == "digits@champion is digits:1\n"
    ask("alias", "digits", "champion", "--delete", "--reason", "y")
    ask("show", "digits@champion", fails=RegistryError)
    ask("alias", "digits", "champion", "--reason", "z", fails=UsageError)
    ask("alias", "digits", "champion", 1, "--delete", "--reason", "z", fails=UsageError)


def test_stage_refuses_a_way_the_table_lacks_unless_forced(ask: Ask, store: Path) -> None:
    promoted(ask, store)
    ask("stage", "digits", 1, "production", "--reason", "x", fails=RegistryError)
    result = ask("stage", "digits", 1, "production", "--reason", "x", "--force")
    assert result.stdout == "digits:1 is in production\n"
    assert "stage (forced)" in ask("history", "digits").stdout


def test_rollback_puts_the_previous_version_back(ask: Ask, store: Path) -> None:
    promoted(ask, store)
    assert ask("rollback", "digits", "--reason", "slow").stdout == "digits:1 is in production again\n"


def test_history_tells_who_did_what_and_why(ask: Ask, store: Path) -> None:
    promoted(ask, store, 1)
    lines = ask("history", "digits").stdout.splitlines()
    assert lines[0].split() == ["time", "by", "action", "version", "from", "to", "reason"]
    assert lines[-1].split()[1:] == ["Ada", "stage", "1", "staging", "production", "gate", "passed"]
    last = shown(ask, "history", "digits")[-1]
    assert (last["action"], last["from"], last["to"]) == ("stage", "staging", "production")


@pytest.mark.parametrize(
    "words", [["alias", "digits", "a", "1"], ["stage", "digits", "1", "staging"], ["rollback", "digits"]]
)
def test_every_change_needs_a_reason(ask: Ask, words: list[str]) -> None:
    result = CliRunner().invoke(main, ["models", *words])
    assert result.exit_code == 2
    assert "--reason" in result.stderr


def test_another_store_is_named_with_dir(ask: Ask, store: Path, tmp_path: Path) -> None:
    a_run(tmp_path / "other", "run-1", ("model", "model"))
    ask("register", "digits", "--run", "run-1", "--dir", tmp_path / "other")
    assert shown(ask, "list") == []
    assert len(shown(ask, "list", "--dir", "other")) == 1


def test_the_help_of_stage_is_the_table_of_transitions(ask: Ask) -> None:
    lines = ask("stage", "--help").stdout.splitlines()
    for before, after in TRANSITIONS.items():
        ways = ", ".join(stage for stage in STAGES if stage in after)
        assert f"{before or '(registered)':<14}{ways}" in [line.strip() for line in lines]


def test_a_registry_needs_no_run_to_be_read(ask: Ask, store: Path) -> None:
    promoted(ask, store)
    for path in (store / "runs" / "run-1").rglob("*.jsonl"):
        path.unlink()
    assert len(shown(ask, "show", "digits")) == 2


def test_the_command_is_the_group() -> None:
    commands = ["alias", "history", "list", "register", "rollback", "show", "stage", "sync"]
    assert sorted(models.command.commands) == commands


def test_a_registry_that_nobody_offers_says_what_there_is(ask: Ask, store: Path) -> None:
    from unitrack.errors import PluginError

    answer = ask("sync", "local", "nowhere", fails=PluginError)
    assert "no registry 'nowhere' can be used in this Python, found: local" in str(answer.exception)


def test_a_registry_is_not_mirrored_into_itself(ask: Ask, store: Path) -> None:
    ask("sync", "local", "local", fails=UsageError)
