"""`unitrack check`: a real model of a real registry, measured on fresh data by a real command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from tests.support import verdicts, watched
from tests.support.toy import git
from unitrack import schemas
from unitrack.config import load_settings
from unitrack.errors import ConfigError
from unitrack.gate.decide import MetricEvidence, decide
from unitrack.gate.policy import make_policy, policy_digest
from unitrack.gate.verdict import verdict_path, write_verdict
from unitrack.reader import get_run, runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project that was trained once. Its runs know its place, so each test gets a copy at that very place."""
    root = tmp_path_factory.mktemp("watched") / "project"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        watched.make_project(root)
    return root, shutil.copytree(root, root.with_name("kept"))


@pytest.fixture
def project(trained, monkeypatch):
    root, kept = trained
    shutil.rmtree(root)
    shutil.copytree(kept, root)
    monkeypatch.chdir(root)
    return root


def fresh(project, **how):
    watched.write_data(project / "data/fresh.csv", **how)


def settings(project, old, new):
    path = project / "unitrack.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    git("commit", "-qam", "Settings")


def result(*arguments):
    """Run the command and return its exit code and JSON."""
    done = watched.check("--format", "json", *arguments)
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout)


def states(found):
    return {one["feature"]: one["state"] for one in found["features"]}


def test_fresh_data_of_the_same_kind_are_fine_and_a_monitoring_run_tells_all_of_it(project):
    fresh(project, seed=2)
    code, found = result()
    assert (code, found["outcome"]) == (0, "pass")
    jsonschema.validate(found, schemas.load("check"))
    assert states(found) == dict.fromkeys(("income", "debt", "age", "colour"), "stable")
    (metric,) = found["metrics"]
    assert (metric["decision"], metric["basis"], metric["n_fresh"]) == ("pass", "two proportions", 3000)

    run = get_run(found["run"])
    assert run.status == "finished"
    assert "monitoring" in run.tags
    told = run.tag_values
    assert (told["kind"], told["model"], told["trained_by"], told["outcome"]) == (
        "monitoring",
        "clf:1",
        "training",
        "pass",
    )
    (model,) = (one for one in run.artifacts if one.use == "input")
    assert (model.kind, model.metadata["origin"], model.digest) == ("model", "clf:1", found["digest"])
    assert {one.split: one.name for one in run.datasets} == {
        "fresh": "data/fresh.csv", "reference": str(project / "data/train.csv"),
    }  # fmt: skip
    assert run.metrics["acc"].last == pytest.approx(metric["fresh"])
    assert run.metrics["drift/age"].last < 0.1
    assert {one.name for one in run.media} == {"features", "metrics", "check"}
    assert [one.name for one in run.artifacts if one.use == "output"] == ["check.json"]
    child = get_run(found["evaluation"])
    assert (child.parent, child.status) == (run.id, "finished")
    assert runs(parent="training") == []  # it is no part of the training


def test_a_feature_that_moved_is_drift_although_the_metric_holds(project):
    fresh(project, seed=3, shift=0.5)
    code, found = result()
    assert code == 1
    assert states(found) == {"income": "stable", "debt": "stable", "age": "drift", "colour": "stable"}
    assert found["metrics"][0]["decision"] == "pass"
    settings(project, 'command = ["python", "evaluate.py"]\n', "")
    settings(project, "[check]", '[[check.drift]]\nfeature = "age"\nrole = "report"\n\n[check]')
    code, found = result()
    assert (code, states(found)["age"]) == (0, "drift")


def test_labels_that_moved_make_the_model_worse_although_no_feature_drifts(project):
    fresh(project, seed=4, flip=0.15)
    done = watched.check()
    assert done.exit_code == 1
    assert done.stdout.startswith("WORSE  1 of 1 metrics are worse on fresh data: acc.")
    assert "acc: It is worse on fresh data" in done.stdout
    assert "drift" not in done.stdout.partition("feature")[2]


def test_a_handful_of_rows_is_undecided(project):
    fresh(project, seed=4, rows=31)
    assert result()[0] == 3


def test_columns_that_stand_elsewhere_are_drift(project):
    fresh(project, seed=2)
    settings(project, 'command = ["python", "evaluate.py"]\n', "")
    path = project / "data/fresh.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([b, a, *rest]) for a, b, *rest in lines) + "\n")
    code, found = result()
    assert (code, [one["what"] for one in found["changes"]]) == (1, ["reordered"])
    assert "income, debt stand elsewhere" in found["changes"][0]["reason"]


def test_without_a_command_only_drift_is_tested_and_no_repository_is_needed(project):
    fresh(project, seed=2)
    settings(project, 'command = ["python", "evaluate.py"]\n', "")
    (project / ".git").rename(project / "elsewhere")
    code, found = result()
    assert (code, found["metrics"], len(found["features"])) == (0, [], 4)
    fresh(project, seed=2, shift=1.0)
    assert result("--fresh", "data/fresh.csv")[0] == 1


RULE = """\
import csv, os
import unitrack

with open(os.environ["UNITRACK_EVALUATE_DATA"]) as file:
    right = [(float(row["income"]) > 0) == (row["label"] == "1") for row in csv.DictReader(file)]
with unitrack.init() as run:
    run.log({"acc": sum(right) / len(right)})
"""


def test_without_predictions_earlier_checks_tell_how_much_the_metric_varies(project):
    Path("evaluate.py").write_text(RULE)  # it starts sooner than the model's
    settings(project, 'margin = 0.05\nexamples = "accuracy"', "margin = 0.2")
    for seed in (11, 12, 13):
        fresh(project, seed=seed)
        code, found = result()
        assert (code, found["metrics"][0]["basis"]) == (3, "none")
    result()  # the same data once more are no further knowledge, and none about themselves
    fresh(project, seed=14)
    code, found = result()
    assert (code, found["metrics"][0]["basis"]) == (0, "earlier checks")
    fresh(project, seed=15, flip=0.4)
    assert result()[0] == 1
    fresh(project, seed=16)
    code, found = result()  # what was worse is no noise
    assert (code, found["metrics"][0]["decision"]) == (0, "pass")


def test_data_that_the_runs_kept_are_compared_wherever_they_were(tmp_path, monkeypatch):
    text = watched.SETTINGS.replace('fresh = "data/fresh.csv"\n', "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watched, "TRAIN", watched.TRAIN.replace('split="train")', 'split="train", keep=True)'))
    logs = 'run.log_dataset(os.environ["FRESH"], split="fresh", keep=True)\n    run.log({"acc"'
    evaluate = watched.EVALUATE.replace("UNITRACK_EVALUATE_DATA", "FRESH").replace('run.log({"acc"', logs)
    monkeypatch.setattr(watched, "EVALUATE", evaluate)
    watched.make_project(tmp_path, settings=text.replace("[check]", '[check]\nenv = ["FRESH"]'))
    monkeypatch.setenv("FRESH", str(tmp_path / "elsewhere/fresh.csv"))
    watched.write_data(tmp_path / "elsewhere/fresh.csv", seed=2, shift=0.6)
    (tmp_path / "data/train.csv").unlink()
    code, found = result()
    assert (code, states(found)["age"]) == (1, "drift")
    assert (found["reference"]["source"], found["fresh"]["source"].split()[0]) == (
        "train.csv of run training",
        "fresh.csv",
    )


def test_training_data_that_changed_are_not_taken_for_those_of_the_model(project):
    fresh(project, seed=2)
    watched.write_data(project / "data/train.csv", seed=9)
    code, found = result()
    assert (code, found["features"], found["metrics"][0]["decision"]) == (3, [], "pass")
    assert "gone or changed" in found["warnings"][0]
    assert "Drift could not be tested" in found["summary"]
    settings(project, 'command = ["python", "evaluate.py"]\n', "")
    settings(project, "[check]", '[check]\nreference = "data/train.csv"')
    code, found = result()
    assert (code, len(found["features"])) == (0, 4)
    assert "was the model trained on it?" in found["warnings"][0]


def test_a_version_whose_run_is_elsewhere_is_compared_with_the_verdict_that_let_it_in(project):
    fresh(project, seed=2)
    policy = make_policy(load_settings(env={}).gate)
    rule = msgspec.structs.replace(policy.metrics[0], examples=None)
    policy = msgspec.structs.replace(policy, metrics=(rule,))
    values = (0.87, 0.86, 0.88, 0.87, 0.87)
    found = decide(policy, [MetricEvidence(rule=rule, seeds=verdicts.SEEDS, candidate=values, baseline=values)])
    made = verdicts.verdict("pass", found, policy=policy, policy_sha256=policy_digest(policy), requirements=())
    candidate = msgspec.structs.replace(made.candidate, commit=git("rev-parse", "HEAD"))
    made = msgspec.structs.replace(made, candidate=candidate)
    write_verdict(verdict_path(project / ".unitrack", made.key[:16]), made, "")
    shutil.rmtree(project / ".unitrack/runs/training")
    code, found = result()
    (metric,) = found["metrics"]
    assert (code, found["promotion"], metric["decision"]) == (3, f"verdict {made.key[:16]}", "undecided")
    assert metric["seeds"] == list(values)
    assert "not in this store" in found["warnings"][0]


def test_a_model_whose_bytes_were_changed_is_not_measured(project):
    fresh(project, seed=2)
    (model,) = (one for one in get_run("training").artifacts if one.name == "model")
    stored = next(
        path for path in (project / ".unitrack/objects").rglob("*") if path.is_file() and path.name in model.digest
    )
    stored.chmod(0o644)
    stored.write_bytes(b"another")
    done = watched.check()
    assert done.exit_code == 2
    assert "damaged" in str(done.exception) + done.output
    (run,) = runs(tags="monitoring")
    assert run.status == "failed"


def test_a_command_that_breaks_is_no_evidence_and_its_run_failed(project):
    fresh(project, seed=2)
    Path("evaluate.py").write_text("raise SystemExit(7)")
    git("commit", "-qam", "Break")
    done = watched.check()
    assert done.exit_code == 4
    assert "exit code 7" in done.output
    assert [run.status for run in runs(tags="monitoring")] == ["failed"]


def test_uncommitted_changes_are_told(project):
    fresh(project, seed=2)
    with Path("evaluate.py").open("a") as file:
        file.write("# changed\n")
    assert any("uncommitted changes" in warning for warning in result()[1]["warnings"])


@pytest.mark.parametrize(
    ("old", "new", "words", "code"),
    [
        ("[check]", "[evaluate]\nmodel = 'm'\n[train]", "no section [check]", 2),
        ("fresh = ", "reference = ", "", 4),
        ('model = "clf"', "", "[check] has no model", 2),
        ("data/fresh.csv", "data/gone.csv", "gone.csv does not exist", 4),
        ('command = ["python", "evaluate.py"]\nfresh = "data/fresh.csv"', "", "neither a command nor fresh data", 2),
        ("[check]", '[check]\nmodel = "clf@staging"', "in stage 'staging'", 2),
    ],
)
def test_what_is_wrong_with_the_settings_is_told(project, old, new, words, code):
    fresh(project, seed=2)
    text = Path("unitrack.toml").read_text().replace(old, new)
    if "[train]" in new:
        text = text.replace('fresh = "data/fresh.csv"\nignore = ["label"]\n', "")
    Path("unitrack.toml").write_text(text)
    done = watched.check()
    assert done.exit_code == code, done.output
    assert words in done.output


def test_two_rules_of_one_feature_are_refused(tmp_path):
    rule = '[[check.drift]]\nfeature = "age"\n'
    (tmp_path / "unitrack.toml").write_text(f"[check]\n{rule}{rule}")
    with pytest.raises(ConfigError, match="'age' has a rule already"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize("name", ["markdown", "html", "json", "terminal"])
def test_each_format_goes_to_a_file_with_foreign_names_shown_as_they_are(project, name):
    settings(project, 'command = ["python", "evaluate.py"]\n', "")
    odd = '<b>::error::|"x"\u202e'
    for file, shift in (("train", 0.0), ("fresh", 3.0)):
        values = np.random.RandomState(1).normal(shift, 1, size=300)
        quoted = odd.replace('"', '""')
        text = f'"{quoted}",label\n' + "".join(f"{value},0\n" for value in values)
        (project / f"data/{file}.csv").write_text(text, encoding="utf-8")
    settings(project, "[check]", '[check]\nreference = "data/train.csv"')
    done = watched.check("--format", name, "--output", f"out/check.{name}")
    assert (done.exit_code, done.stdout) == (1, "")
    written = (project / f"out/check.{name}").read_text(encoding="utf-8")
    assert "DRIFT" in written.upper()
    if name != "json":
        assert "\u202e" not in written
    if name == "html":
        assert "<b>::" not in written
        assert "<script" not in written
    if name == "terminal":
        assert "::error" not in written


def test_a_project_whose_mode_is_disabled_keeps_its_checks_all_the_same(project):
    fresh(project, seed=2)
    settings(project, 'command = ["python", "evaluate.py"]\n', "")
    settings(project, 'project = "watched"', 'project = "watched"\nmode = "disabled"')
    assert get_run(result()[1]["run"]).status == "finished"
