"""Whole gates that end otherwise than by numbers: who judges, what there is to compare, what was asked before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from toy import SETTINGS, TRAIN, commit, edit, gate, git, make_project, only_verdict

import unitrack
from unitrack.cli import main
from unitrack.gate.keys import spent
from unitrack.gate.verdict import Verdict, read_verdict
from unitrack.registry import LocalRegistry


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "toy"
    root.mkdir()
    monkeypatch.chdir(root)
    make_project(root)
    return root


def verdicts(root: Path) -> list[Verdict]:
    return sorted(
        (read_verdict(path) for path in root.glob(".unitrack/gate/*/verdict.json")), key=lambda one: one.created
    )


# -- asked before ------------------------------------------------------------------------------------


def test_running_again_until_green_returns_the_same_verdict_and_trains_nothing(project: Path) -> None:
    commit("Worse", LEVEL="0.8")
    assert gate().exit_code == 1
    before = only_verdict(project).read_bytes()
    again = gate()
    assert again.exit_code == 1
    assert "the same question gets the same verdict, nothing was trained" in again.stderr
    assert "candidate seed" not in again.stderr
    assert only_verdict(project).read_bytes() == before


ERRATIC = "0.1 if int(sys.argv[1]) > 2 else 0.002"


def test_an_undecided_attempt_does_not_undo_a_failed_one(project: Path) -> None:
    """Seeds 0 to 2 fail for sure, later ones are so noisy that nothing is shown."""
    commit("Worse, and erratic", LEVEL="0.8", NOISE=ERRATIC)
    assert gate().exit_code == 1
    done = gate("--fresh-seeds")
    assert done.exit_code == 3
    assert "an earlier attempt at the same question failed" in done.stdout
    assert [one.blocks for one in verdicts(project)] == [True, True]
    again = gate("--use-seeds", "3,4,5")
    assert again.exit_code == 3
    assert "nothing was trained" in again.stderr
    assert verdicts(project)[-1].blocks


def test_an_undecided_first_attempt_does_not_block_unless_the_policy_says_so(project: Path) -> None:
    commit("Worse, and erratic", LEVEL="0.8", NOISE=ERRATIC)
    assert gate("--use-seeds", "3,4,5").exit_code == 3
    assert [one.blocks for one in verdicts(project)] == [False]


def test_a_failed_attempt_whose_verdict_is_gone_is_not_forgotten(project: Path) -> None:
    commit("Worse, and erratic", LEVEL="0.8", NOISE=ERRATIC)
    assert gate().exit_code == 1
    only_verdict(project).unlink()
    assert gate("--fresh-seeds").exit_code == 3
    assert [one.blocks for one in verdicts(project)] == [True]


def test_fresh_seeds_are_another_attempt_with_half_the_error_left(project: Path) -> None:
    commit("Worse", LEVEL="0.8")
    assert gate().exit_code == 1
    done = gate("--fresh-seeds")
    assert done.exit_code == 1
    first, second = verdicts(project)
    assert (first.attempt, second.attempt) == (1, 2)
    assert not {*first.seeds} & {*second.seeds}
    assert spent(second.policy, 2).pass_level == second.policy.pass_level / 2
    assert "this is attempt 2 at the same question" in done.stdout
    assert first.policy_sha256 == second.policy_sha256


def test_an_attempt_that_never_came_to_a_verdict_is_gone_on_with(project: Path) -> None:
    commit("Worse", LEVEL="0.8")
    gate()
    gate("--fresh-seeds")
    (memory,) = project.glob(".unitrack/gate/attempts/*.json")
    tree = json.loads(memory.read_text())
    del tree["attempts"][1]["key"]
    memory.write_text(json.dumps(tree))
    seeds = verdicts(project)[1].seeds
    gate("--fresh-seeds")
    assert len(json.loads(memory.read_text())["attempts"]) == 2
    assert verdicts(project)[1].seeds == seeds


def test_other_numbers_of_seeds_and_trainings_anew_are_attempts_too(project: Path) -> None:
    commit("Better", LEVEL="0.92")
    gate()
    gate("--seeds", "2")
    gate("--fresh")
    assert [one.attempt for one in verdicts(project)] == [1, 2, 3]


def test_an_empty_commit_is_no_new_question_but_another_attempt(project: Path) -> None:
    commit("Worse", LEVEL="0.8")
    gate()
    git("commit", "--allow-empty", "-qm", "Once more")
    gate()
    assert [one.attempt for one in verdicts(project)] == [1, 2]


def test_attempts_that_cannot_be_read_end_the_gate(project: Path) -> None:
    commit("Better", LEVEL="0.92")
    gate()
    (memory,) = project.glob(".unitrack/gate/attempts/*.json")
    memory.write_text("{")
    done = gate()
    assert done.exit_code == 4
    assert "earlier attempts can't be read" in done.stderr


def test_a_stored_verdict_that_was_changed_is_not_believed(project: Path) -> None:
    commit("Worse", LEVEL="0.8")
    gate()
    path = only_verdict(project)
    path.write_text(path.read_text().replace('"outcome": "fail"', '"outcome": "pass"'))
    done = gate()
    assert done.exit_code == 1
    assert "an earlier verdict can't be used" in done.stderr
    assert done.stderr.count(": known") == 4


def test_training_again_measures_how_well_it_reproduces(project: Path) -> None:
    commit("Better", LEVEL="0.92")
    gate()
    gate("--fresh")
    first, second = verdicts(project)
    assert (first.tier, second.tier) == (None, "bit_equal")


def test_training_that_does_not_repeat_itself_is_told(project: Path) -> None:
    edit("train.py", "draw = random.Random(seed)", "draw = random.SystemRandom()")
    gate()
    gate("--fresh")
    assert verdicts(project)[-1].tier in ("statistically_equal", "not_reproduced")


# -- the baseline ------------------------------------------------------------------------------------


def test_without_a_production_model_nothing_passes_and_it_says_how_to_register_one(project: Path) -> None:
    edit("unitrack.toml", 'model = "toy"', 'model = "other"')
    done = gate()
    assert done.exit_code == 4, done.output
    assert "There is no baseline yet: nothing was compared." in done.stdout
    assert "unitrack models register other --run RUN" in done.stdout
    verdict = read_verdict(only_verdict(project))
    assert (verdict.outcome, verdict.blocks, verdict.baseline.commit) == ("undecided", True, "")
    assert verdict.seeds == (0,)


def test_a_policy_may_let_the_first_model_in_without_a_pass(project: Path) -> None:
    edit("unitrack.toml", 'model = "toy"', 'model = "other"\nmissing_baseline = "neutral"')
    assert gate().exit_code == 4
    verdict = read_verdict(only_verdict(project))
    assert (verdict.outcome, verdict.blocks) == ("undecided", False)


def test_a_named_baseline_that_is_not_there_is_no_evidence(project: Path) -> None:
    done = gate("--baseline", "other@production")
    assert done.exit_code == 4
    assert not list(project.glob(".unitrack/gate/*/verdict.json"))


def broken_baseline(root: Path, policy: str) -> None:
    """Leave a production commit that no longer trains, and a candidate that does."""
    broken = edit("train.py", "import os, random, sys", "import os, random, sys, gone_package")
    registry = LocalRegistry(root / ".unitrack/registry", identity=lambda: "test")
    registry.register("toy", run="second", commit=broken)
    registry.set_alias("toy", "staging", 2, reason="tried")
    registry.set_alias("toy", "production", 2, reason="good")
    edit("train.py", ", gone_package", "")
    edit("unitrack.toml", 'model = "toy"', f'model = "toy"\nbroken_baseline = "{policy}"')


@pytest.mark.parametrize(("policy", "blocks"), [("block", True), ("neutral", False)])
def test_a_baseline_that_no_longer_trains_is_told_and_nothing_passes(
    project: Path, policy: str, *, blocks: bool
) -> None:
    broken_baseline(project, policy)
    done = gate()
    assert done.exit_code == 4, done.output
    assert "no longer trains with seed 0: it ended with exit code 1" in done.stdout
    verdict = read_verdict(only_verdict(project))
    assert (verdict.outcome, verdict.blocks, verdict.baseline.runs) == ("undecided", blocks, ())


def record(root: Path) -> None:
    """Train the production commit beforehand and register its first run."""
    done = CliRunner().invoke(main, ["rerun", "HEAD"], prog_name="unitrack")
    assert done.exit_code == 0, done.output
    run = next(view.id for view in unitrack.runs() if view.params["seed"] == 0)
    registry = LocalRegistry(root / ".unitrack/registry", identity=lambda: "test")
    registry.register("toy", run=run, commit=git("rev-parse", "HEAD"))
    registry.set_alias("toy", "staging", 2, reason="tried")
    registry.set_alias("toy", "production", 2, reason="good")


def test_recorded_runs_are_compared_with_seed_by_seed_and_warned_of(project: Path) -> None:
    record(project)
    edit("unitrack.toml", 'model = "toy"', 'model = "toy"\nbaseline = "recorded"')
    commit("Better", LEVEL="0.92")
    done = gate()
    assert done.exit_code == 0, done.output
    assert "baseline seed" not in done.stderr
    assert "1.16 standard deviations" in done.stdout
    assert "57 %" in done.stdout
    verdict = read_verdict(only_verdict(project))
    assert verdict.mode == "recorded"
    assert len(verdict.baseline.runs) == len(verdict.seeds)


def test_a_recorded_baseline_without_the_seed_leaves_it_open(project: Path) -> None:
    record(project)
    edit("unitrack.toml", 'model = "toy"', 'model = "toy"\nbaseline = "recorded"')
    commit("Better", LEVEL="0.92")
    done = gate("--use-seeds", "77,78")
    assert done.exit_code == 4
    assert "the baseline has no recorded run with seed 77" in done.stdout


def test_a_recorded_run_that_is_gone_is_no_evidence(project: Path) -> None:
    edit("unitrack.toml", 'model = "toy"', 'model = "toy"\nbaseline = "recorded"')
    done = gate()
    assert done.exit_code == 4
    assert "the run of toy:1 can't be read" in done.stderr


# -- who judges --------------------------------------------------------------------------------------


def test_in_ci_the_policy_is_the_base_branchs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    edit("unitrack.toml", "margin = 0.02", "margin = 0.5")
    commit("Worse", LEVEL="0.8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    done = gate()
    assert done.exit_code == 1
    verdict = read_verdict(only_verdict(project))
    assert verdict.policy.metrics[0].margin == 0.02
    assert [flag.kind for flag in verdict.flags] == ["policy"]
    assert "the candidate changes [gate] (acc.margin 0.02 → 0.5): the base's was used" in verdict.flags[0].text


def test_in_ci_a_base_branch_that_was_not_fetched_ends_with_2(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    done = gate()
    assert done.exit_code == 2
    assert "names no commit" in done.stderr


def test_a_policy_of_the_candidates_own_is_flagged_where_it_was_used(project: Path) -> None:
    edit("unitrack.toml", "margin = 0.02", "margin = 0.5")
    gate()
    (flag,) = read_verdict(only_verdict(project)).flags
    assert "name the base branch with --policy-ref" in flag.text


def test_changed_code_that_measures_and_changed_test_data_are_flagged(project: Path) -> None:
    Path("evaluation.py").write_text("x = 1\n")
    Path("data").mkdir()
    Path("data/test.csv").write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "Measure otherwise")
    gate()
    assert [(flag.kind, flag.text) for flag in read_verdict(only_verdict(project)).flags] == [
        (
            "evaluation",
            "the candidate changes files that measure (evaluation.py): its numbers are measured by the changed ones",
        ),
        ("test_data", "the candidate changes files of test data: data/test.csv"),
    ]


def test_other_test_data_that_runs_recorded_is_flagged(project: Path) -> None:
    log = "    run.log_dataset('s3://data/holdout', name='holdout', version='{0}', split='test')\n    for epoch"
    edit("train.py", "    for epoch", log.format("a" * 64))
    base = git("rev-parse", "HEAD")
    edit("train.py", "a" * 64, "b" * 64)
    assert gate("--baseline", base).exit_code in (0, 3)
    verdict = read_verdict(only_verdict(project))
    assert [flag.kind for flag in verdict.flags] == ["test_data"]
    assert "measured on different test data: holdout aaa" in verdict.flags[0].text


# -- what is required --------------------------------------------------------------------------------


def test_a_required_fact_that_was_not_recorded_fails(project: Path) -> None:
    edit("unitrack.toml", 'model = "toy"', 'model = "toy"\nrequire = ["code.commit", "data.version", "seeds"]')
    done = gate()
    assert done.exit_code == 1
    assert "What the policy requires is not recorded: data.version." in done.stdout
    found = {one.name: one.satisfied for one in read_verdict(only_verdict(project)).requirements}
    assert found == {"code.commit": True, "data.version": False, "seeds": True}


def test_required_facts_that_were_recorded_let_it_pass(project: Path) -> None:
    edit("train.py", "    for epoch", "    run.log_dataset('s3://data/train', version='v1')\n    for epoch")
    Path("uv.lock").write_text("")
    git("add", ".")
    edit("unitrack.toml", 'model = "toy"', 'model = "toy"\nrequire = ["data.version", "environment.lock", "params"]')
    assert gate().exit_code == 0
    assert all(one.satisfied for one in read_verdict(only_verdict(project)).requirements)


def test_an_unknown_fact_is_a_mistake_in_the_policy(project: Path) -> None:
    edit("unitrack.toml", 'model = "toy"', 'model = "toy"\nrequire = ["data.virsion"]')
    assert gate().exit_code == 2


# -- who measures ------------------------------------------------------------------------------------

LYING = (
    TRAIN.replace(
        "        run.log({",
        "        open('model.txt', 'w').write(str(LEVEL))\n        run.log({",
    )
    + "    run.log_model('model.txt', name='net')\n"
)
EVALUATE = """\
import os, pathlib
import unitrack

with unitrack.init() as run:
    run.log({"acc": float(pathlib.Path(os.environ["UNITRACK_EVALUATE_MODEL"]).read_text())})
"""
EVALUATED = SETTINGS + '\n[evaluate]\ncommand = ["python", "evaluate.py"]\nmodel = "net"\n'


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "toy"
    root.mkdir()
    monkeypatch.chdir(root)
    Path("evaluate.py").write_text(EVALUATE)
    make_project(root, settings=EVALUATED, train=LYING)
    return root


def test_the_bases_evaluation_counts_and_not_what_training_says_of_itself(evaluated: Path) -> None:
    base = git("rev-parse", "HEAD")
    edit("train.py", '"acc": LEVEL', '"acc": 0.99')
    edit("evaluate.py", "float(pathlib", "0.99 or float(pathlib")
    commit("Worse", LEVEL="0.8")
    done = gate("--policy-ref", base)
    assert done.exit_code == 1, done.output
    verdict = read_verdict(only_verdict(evaluated))
    assert verdict.evaluated_by == base
    assert verdict.metrics[0].candidate_mean == 0.8
    assert {flag.kind for flag in verdict.flags} == {"evaluation"}
    assert "the base's own were used" in verdict.flags[0].text
    runs = [unitrack.get_run(str(run.evaluation)) for run in verdict.candidate.runs]
    assert {run.captures["git"]["commit"] for run in runs} == {base}


def test_a_candidate_that_leaves_no_model_behind_is_no_evidence(evaluated: Path) -> None:
    edit("train.py", "    run.log_model('model.txt', name='net')\n", "")
    done = gate()
    assert done.exit_code == 4
    assert "logged no model 'net', which [evaluate] measures" in done.stderr


def test_an_evaluation_that_breaks_is_no_evidence(evaluated: Path) -> None:
    commit("A model that can't be read", LEVEL="'high'")
    edit("train.py", '"acc": LEVEL', '"acc": 0.9 #')
    edit("train.py", "0.9 #", "0.9, 'x': 0.9 #")
    done = gate()
    assert done.exit_code == 4


def test_without_evaluation_a_verdict_is_self_reported(project: Path) -> None:
    gate("--seeds", "1")
    assert read_verdict(only_verdict(project)).evaluated_by is None
    shutil.rmtree(project / ".unitrack/gate")
