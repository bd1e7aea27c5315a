"""Calibrations of a real training by the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from toy import SETTINGS, TRAIN, commit, gate, make_project

from unitrack.cli import main
from unitrack.gate.verdict import read_verdict

NOISY = TRAIN.replace("draw = random.Random(seed)", "draw = random.Random()")


def calibrate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["gate", "calibrate", *arguments], prog_name="unitrack")


def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: str = TRAIN, settings: str = SETTINGS) -> Path:
    root = tmp_path / "toy"
    root.mkdir()
    monkeypatch.chdir(root)
    make_project(root, train=train, settings=settings)
    return root


def test_deterministic_training_is_found_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch)
    done = calibrate("--seeds", "3")
    assert done.exit_code == 0, done.output
    assert "3 pairs of" in done.stdout
    assert "training reproduces bit-equal" in done.stdout
    assert '[[gate.metrics]]\nname = "acc"\ngoal = "maximize"\nmargin = 0.00' in done.stdout
    assert "[6/6] second seed 2" in done.stderr


def test_later_gates_start_from_its_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path, monkeypatch, NOISY)
    done = calibrate("--seeds", "4", "--json")
    assert done.exit_code == 0, done.output
    acc = json.loads(done.stdout)["metrics"][0]
    assert acc["pair_noise"]["sd"] > 0
    assert acc["tier"] in ("statistically_equal", "not_reproduced")
    commit("Better", LEVEL="0.92")
    assert gate().exit_code in (0, 3)
    (path,) = root.glob(".unitrack/gate/*/verdict.json")
    noise = read_verdict(path).metrics[0].noise
    assert noise is not None
    assert (noise.df, noise.gates) == (3, 1)


def test_jobs_that_are_known_are_not_trained_again_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, monkeypatch)
    assert CliRunner().invoke(main, ["rerun", "--seeds", "2"]).exit_code == 0
    assert calibrate("--seeds", "2").stderr.count(": known") == 2
    assert ": known" not in calibrate("--seeds", "2", "--fresh").stderr
    assert len(list(Path(".unitrack/gate").glob("calibration-*"))) == 2


def test_without_rules_it_suggests_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch, settings=SETTINGS.partition("[gate]")[0])
    done = calibrate("--seeds", "2")
    assert done.exit_code == 0, done.output
    assert 'name = "loss"\ngoal = "minimize"  # guessed from the name: check it' in done.stdout


def test_a_training_that_breaks_is_no_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch, TRAIN + "    raise RuntimeError\n")
    done = calibrate("--seeds", "2")
    assert done.exit_code == 4
    assert "nothing was measured" in done.stderr
    assert not list(Path(".unitrack/gate").glob("calibration-*"))


@pytest.mark.parametrize(
    ("arguments", "words"), [(("--seeds", "1"), "not in the range"), (("nowhere",), "names no commit")]
)
def test_wrong_use_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    project(tmp_path, monkeypatch)
    done = calibrate(*arguments)
    assert (done.exit_code, words in done.stderr) == (2, True)


def test_gate_without_a_command_still_gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch)
    commit("Better", LEVEL="0.92")
    assert gate("--candidate", "HEAD", "--seeds", "2").exit_code == 0
    assert gate("nowhere").exit_code == 2
