from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import unitrack
from unitrack.config import Settings, TrainSettings
from unitrack.errors import ConfigError, EvidenceError, UsageError
from unitrack.journal import layout
from unitrack.reader import get_run
from unitrack.rerun.executors import Exit, Place
from unitrack.rerun.git import find_repository
from unitrack.rerun.job import Job
from unitrack.rerun.runner import Rerunner, choose_seeds, log_tail


class Training:
    """An executor that logs a run as training would, or spoils it as told."""

    name = "fake"

    def __init__(self) -> None:
        self.spoil = ""
        self.calls: list[Place] = []
        self.software = "one"

    def fingerprint(self) -> str:
        return self.software

    def run(self, job: Job, place: Place) -> Exit:
        self.calls.append(place)
        place.log.write_text(f"training {self.spoil}\n")
        assert (place.folder / "train.py").exists()
        if self.spoil == "crash":
            return Exit(code=1, seconds=0.5)
        if self.spoil == "no run":
            return Exit(code=0, seconds=0.5)
        run = unitrack.init(project=job.project, id=place.run, dir=place.store, mode="offline")
        run.log({"acc": 0.9 + job.seed / 100})
        run.finish("failed" if self.spoil == "failed" else "finished")
        if self.spoil == "forged":
            (journal,) = layout.journals(layout.run_dir(place.store, place.run))
            journal.write_bytes(journal.read_bytes().replace(b'"acc":0.9', b'"acc":1.9'))
        if self.spoil == "input":
            (place.folder / "data.csv").write_text("changed by training")
        return Exit(code=0, seconds=0.5, image="sha256:" + "a" * 64, hardware="x86_64, Fast CPU")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    root = tmp_path / "project"
    root.mkdir()
    (root / "train.py").write_text("")
    (root / ".gitignore").write_text("data.csv\n.unitrack/\n")
    (root / "data.csv").write_text("1,2")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "One"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    train = TrainSettings(command=("python", "train.py", "{seed}"), seeds=(0, 1), inputs=("data.csv",))
    return Settings(project="digits", root=root, train=train)


def rerunner(settings: Settings, training: Training, *, fresh: bool = False, **environ: str) -> Rerunner:
    return Rerunner(
        repository=find_repository(settings.root),
        settings=settings,
        executor=training,
        open_run=lambda run: get_run(run, dir=settings.store),
        environ=environ,
        fresh=fresh,
    )


def head(settings: Settings) -> str:
    return find_repository(settings.root).commit("HEAD")


def test_a_job_that_logs_a_finished_run_is_evidence(settings: Settings) -> None:
    runner = rerunner(settings, Training())
    result = runner.run(runner.job(head(settings), 1))
    assert (result.ok, result.reason, result.cached, result.exit_code) == (True, None, False, 0)
    view = get_run(result.run, dir=settings.store)
    assert view.summary["acc"] == 0.91
    assert log_tail(runner.log(result)) == ("training ",)


def test_a_result_keeps_the_image_and_the_class_of_the_machine_it_came_of(settings: Settings) -> None:
    results = []
    for _ in range(2):  # run, then known
        runner = rerunner(settings, Training())
        results.append(runner.run(runner.job(head(settings), 1)))
    assert [result.cached for result in results] == [False, True]
    assert {(result.image, result.hardware) for result in results} == {("sha256:" + "a" * 64, "x86_64, Fast CPU")}


def test_an_equal_job_is_not_repeated_unless_it_shall_be_fresh(settings: Settings) -> None:
    training = Training()
    runner = rerunner(settings, training)
    job = runner.job(head(settings), 0)
    first, second = runner.run(job), runner.run(job)
    assert (second.cached, second.run, len(training.calls)) == (True, first.run, 1)
    third = rerunner(settings, training, fresh=True).run(job)
    assert (third.cached, len(training.calls)) == (False, 2)
    assert third.run != first.run


def test_other_software_or_inputs_make_another_job(settings: Settings) -> None:
    training = Training()
    first = rerunner(settings, training).job(head(settings), 0)
    training.software = "two"
    second = rerunner(settings, training).job(head(settings), 0)
    (settings.root / "data.csv").write_text("3,4")
    third = rerunner(settings, training).job(head(settings), 0)
    assert len({first.key, second.key, third.key}) == 3


def test_a_failed_job_is_tried_again(settings: Settings) -> None:
    training = Training()
    training.spoil = "failed"
    runner = rerunner(settings, training)
    job = runner.job(head(settings), 0)
    assert not runner.run(job).ok
    training.spoil = ""
    assert runner.run(job).ok


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("crash", "it ended with exit code 1"),
        ("no run", "it logged no run: the training has to call unitrack.init()"),
        ("failed", "its run is failed, not finished"),
        ("forged", "the seal's SHA-256"),
        ("input", "the training wrote to its inputs (data.csv)"),
    ],
)
def test_what_is_no_evidence_says_why(settings: Settings, spoil: str, reason: str) -> None:
    training = Training()
    training.spoil = spoil
    runner = rerunner(settings, training)
    result = runner.run(runner.job(head(settings), 0))
    assert not result.ok
    assert result.reason is not None
    assert reason in result.reason


def test_a_failure_in_a_checkout_that_lacks_something_says_what(settings: Settings, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "lib.py").write_text("")
    for folder, arguments in (
        (library, ["init", "-q"]),
        (library, ["add", "."]),
        (library, ["commit", "-qm", "Library"]),
        (settings.root, ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "libs/lib"]),
        (settings.root, ["commit", "-qm", "With a submodule"]),
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    training = Training()
    training.spoil = "crash"
    runner = rerunner(settings, training)
    result = runner.run(runner.job(head(settings), 0))
    assert result.reason is not None
    assert result.reason.startswith("it ended with exit code 1; ")
    assert "submodules are left empty in a checkout (libs/lib)" in result.reason


def test_a_known_run_that_was_forged_since_is_trained_again(settings: Settings) -> None:
    training = Training()
    runner = rerunner(settings, training)
    job = runner.job(head(settings), 0)
    (journal,) = layout.journals(layout.run_dir(settings.store, runner.run(job).run))
    journal.write_bytes(journal.read_bytes().replace(b'"acc":0.9', b'"acc":1.9'))
    result = runner.run(job)
    assert (result.ok, result.cached, len(training.calls)) == (True, False, 2)


def test_each_job_has_a_clean_checkout_with_its_inputs(settings: Settings) -> None:
    training = Training()
    runner = rerunner(settings, training)
    for seed in (0, 1):
        runner.run(runner.job(head(settings), seed))
    first, second = training.calls
    assert first.checkout != second.checkout
    assert not first.checkout.exists()


def test_a_commit_without_the_projects_folder_is_no_evidence(settings: Settings) -> None:
    sub = settings.root / "later"
    sub.mkdir()
    (sub / "train.py").write_text("")
    deeper = Settings(project="digits", root=sub, train=TrainSettings(command=("python", "train.py", "{seed}")))
    runner = rerunner(deeper, Training())
    result = runner.run(runner.job(head(settings), 0))
    assert result.reason is not None
    assert "has no folder later" in result.reason


def test_without_a_train_section_or_its_inputs_there_is_no_runner(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"no section \[train\]"):
        rerunner(Settings(root=settings.root), Training())
    (settings.root / "data.csv").unlink()
    with pytest.raises(EvidenceError, match=r"data\.csv does not exist"):
        rerunner(settings, Training())


def test_uncommitted_changes_and_a_command_without_a_seed_are_warned_of(settings: Settings) -> None:
    assert rerunner(settings, Training()).warnings == ()
    (settings.root / "train.py").write_text("dirty")
    seedless = Settings(root=settings.root, train=TrainSettings(command=("python", "train.py")))
    dirty, seed = rerunner(seedless, Training()).warnings
    assert "train.py" in dirty
    assert "{seed}" in seed


def test_allowed_variables_reach_the_job_and_its_key(settings: Settings) -> None:
    train = TrainSettings(command=("python", "train.py", "{seed}"), env=("MODE", "ABSENT"))
    allowed = Settings(root=settings.root, train=train)
    job = rerunner(allowed, Training(), MODE="a", OTHER="b").job(head(settings), 0)
    assert dict(job.environment)["MODE"] == "a"
    assert not {"OTHER", "ABSENT"} & set(dict(job.environment))
    assert job.key != rerunner(allowed, Training(), MODE="b").job(head(settings), 0).key


def test_seeds_are_the_first_of_the_settings_and_go_on_from_the_largest() -> None:
    train = TrainSettings(command=("x",), seeds=(7, 3))
    assert choose_seeds(train, None) == (7, 3)
    assert choose_seeds(train, 1) == (7,)
    assert choose_seeds(train, 4) == (7, 3, 8, 9)
    with pytest.raises(UsageError):
        choose_seeds(train, 0)
    with pytest.raises(ConfigError, match="twice"):
        choose_seeds(TrainSettings(command=("x",), seeds=(1, 1)), None)


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert log_tail(path, 2) == ("line 9998", "line 9999")
    assert log_tail(tmp_path / "none.log") == ()
