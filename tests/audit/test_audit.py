"""An audit says of each source of a run whether it can be named again, and what would make it so."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import jsonschema
import msgspec
import pytest
from playwright.sync_api import sync_playwright

import unitrack
from unitrack import config, schemas
from unitrack.audit import ITEMS, PHASES, Surroundings, audit_run, encode, examine
from unitrack.audit.checks import CHECKS
from unitrack.audit.items import STEPS
from unitrack.events import Artifact, DatasetUsed
from unitrack.gate.requirements import check
from unitrack.report import audit_html, audit_markdown, audit_terminal

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
IMAGE = "ghcr.io/o/train@sha256:" + "ab" * 32
ATTRIBUTES = ("id", "project", "params", "metrics", "artifacts", "datasets", "captures")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The digits example as a team has it: committed, locked, trained twice in an image known by digest."""
    folder = tmp_path_factory.mktemp("digits") / "project"
    folder.mkdir()
    for name in ("train.py", "unitrack.toml"):
        shutil.copy(EXAMPLE / name, folder)
    (folder / "requirements.txt").write_text("scikit-learn\n")
    (folder / ".gitignore").write_text(".unitrack/\n")
    identity = ["-c", "user.name=mia", "-c", "user.email=mia@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "digits"]):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("UNITRACK_", "GIT_"))}
    env = {**kept, "UNITRACK_IMAGE": IMAGE, "PYTHONHASHSEED": "0"}
    for seed in ("0", "1"):
        command = [sys.executable, "train.py", "--seed", seed, "--epochs", "2"]
        subprocess.run(command, cwd=folder, check=True, env=env, capture_output=True)
    store = folder / ".unitrack"
    new, old = unitrack.runs(dir=store)
    why = ("--reason", "the first", "--by", "mia")
    stages = [["stage", "digits", "1", stage, *why] for stage in ("staging", "production")]
    for words in (["register", "digits", "--run", old.id, "--by", "mia"], *stages):
        command = [sys.executable, "-m", "unitrack", "models", *words]
        subprocess.run(command, cwd=folder, check=True, env=env, capture_output=True)
    return SimpleNamespace(folder=folder, new=new, old=old, env=env)


def copy_of(view):
    """Return what an audit reads of a run, to be changed."""
    return SimpleNamespace(**{name: json_copy(getattr(view, name)) for name in ATTRIBUTES})


def json_copy(value):
    if isinstance(value, dict):
        return {name: json_copy(item) for name, item in value.items()}
    return tuple(msgspec.structs.replace(each) for each in value) if isinstance(value, tuple) else value


def states(view, around):
    return {item.name: item.state for item in audit_run(view, around, version="1").items}


def without_seed(view):
    del view.params["seed"]


def without_commit(view):
    del view.captures["git"]["commit"]


def without_image(view):
    del view.captures["container"]["image_digest"]


def without(view, **fields):
    view.datasets = tuple(msgspec.structs.replace(each, **fields) for each in view.datasets)


REMOVED = {
    "seeds": without_seed,
    "code.commit": without_commit,
    "data.version": partial(without, digest=None, version=None),
    "environment.image": without_image,
    "features.order": partial(without, columns=None),
}


def test_of_the_digits_example_all_that_can_be_is_satisfied(digits):
    around = Surroundings(others=[digits.old], production=digits.old, wants_predictions=False)
    found = states(digits.new, around)
    absent = {name for name, state in found.items() if state == "not applicable"}
    assert absent == {"ensemble.parts", "predictions"}
    assert {name for name, state in found.items() if state == "satisfied"} == set(found) - absent


@pytest.mark.parametrize("name", REMOVED)
def test_removing_one_source_turns_exactly_its_item(digits, name):
    around = Surroundings(others=[digits.old], production=digits.old, wants_predictions=False)
    view = copy_of(digits.new)
    before = states(view, around)
    REMOVED[name](view)
    after = states(view, around)
    assert {item: state for item, state in after.items() if state != before[item]} == {name: "missing"}
    (item,) = [item for item in audit_run(view, around, version="1").items if item.name == name]
    assert item.remedy and item.evidence


def test_a_bare_run_lacks_all_but_what_it_has_no_need_of():
    view = SimpleNamespace(id="r", project="p", params={}, metrics={}, artifacts=(), datasets=(), captures={})
    made = audit_run(view, Surroundings(wants_predictions=False), version="1")
    assert (made.satisfied, made.not_applicable) == (0, 3)
    assert all(item.remedy for item in made.items if item.state == "missing")
    assert [step.state for step in made.crisp_dm] == ["missing"] * 6


# -- items ---------------------------------------------------------------------------------------


def view_of(**fields):
    bare = {"id": "r", "project": "p", "params": {}, "metrics": {}, "artifacts": (), "datasets": (), "captures": {}}
    return SimpleNamespace(**{**bare, **fields})


def data(**fields):
    return DatasetUsed(seq=1, time=1.0, **{"name": "d", **fields})


def artifact(**fields):
    return Artifact(seq=1, time=1.0, **{"name": "a", "kind": "model", "digest": "sha256:aa", **fields})


def stands(name, view, **around):
    return examine(name, view, Surroundings(**around)).state


@pytest.mark.parametrize(
    ("name", "view", "state"),
    [
        ("data.snapshot", view_of(datasets=(data(digest="x"),)), "missing"),
        ("data.snapshot", view_of(datasets=(data(digest="x"),), artifacts=(artifact(digest="x"),)), "satisfied"),
        ("data.snapshot", view_of(datasets=(data(version="r1", metadata={"resolver": "dvc"}),)), "satisfied"),
        ("data.snapshot", view_of(datasets=(data(metadata={"kept": "x"}), data())), "missing"),
        ("data.timestamp", view_of(datasets=(data(metadata={"as_of": "2026"}),)), "satisfied"),
        ("data.version", view_of(datasets=(data(version="v1"),)), "satisfied"),
        ("code.clean", view_of(captures={"git": {"dirty": False, "untracked": 2}}), "satisfied"),
        ("code.clean", view_of(captures={"git": {"dirty": True, "patch": {"kept": True}}}), "missing"),
        (
            "code.clean",
            view_of(
                captures={"git": {"dirty": True, "patch": {"kept": True}}},
                artifacts=(artifact(kind="source", name="source/git/changes.patch"),),
            ),
            "satisfied",
        ),
        ("seeds", view_of(params={"model": {"random_state": 0}}), "satisfied"),
        ("seeds", view_of(params={"seeds": 3, "seeding": 1, "seed": None}), "missing"),
        ("ensemble.parts", view_of(artifacts=(artifact(use="input"),)), "satisfied"),
        ("ensemble.parts", view_of(artifacts=(artifact(use="input", digest=None),)), "missing"),
        ("training.determinism", view_of(captures={"seeds": {"hash_seed": "random"}}), "missing"),
        ("training.determinism", view_of(captures={"seeds": {"hash_seed": "0", "torch": {"threads": 1}}}), "missing"),
        (
            "training.determinism",
            view_of(captures={"seeds": {"hash_seed": "0", "torch": {"deterministic_algorithms": True}}}),
            "satisfied",
        ),
        ("training.determinism", view_of(captures={"seeds": {"hash_seed": "0", "frameworks": ["tensorflow"]}}), "missing"),
        ("environment.image", view_of(captures={"container": {"engine": "docker"}}), "missing"),
        ("deployment.inputs", view_of(artifacts=(artifact(metadata={"inputs": ["a"]}),)), "satisfied"),
        ("predictions", view_of(artifacts=(artifact(kind="predictions"),)), "satisfied"),
    ],
)  # fmt: skip
def test_an_item_stands_as_the_run_shows(name, view, state):
    assert stands(name, view) == state


def test_software_and_inputs_are_compared_with_those_of_production():
    here = view_of(
        captures={"environment": {"python": "3.12", "packages": {"numpy": "2"}}},
        artifacts=(artifact(metadata={"inputs": ["a", "b"]}),),
    )
    there = view_of(
        id="p",
        captures={"environment": {"python": "3.12", "packages": {"numpy": "1"}}},
        artifacts=(artifact(metadata={"inputs": ["a"]}),),
    )
    assert examine("deployment.versions", here, Surroundings(production=there)).evidence.endswith("numpy 1 → 2")
    assert examine("deployment.inputs", here, Surroundings(production=there)).evidence == "production lacks b"
    assert stands("deployment.versions", here, production=here) == "satisfied"
    assert stands("deployment.versions", here) == "not applicable"


def test_other_data_of_the_same_code_shows_that_features_are_not_deterministic():
    git = {"git": {"commit": "c"}}
    one, same, other = (view_of(id=name, captures=git, datasets=(data(digest=digest),))
                        for name, digest in (("1", "x"), ("2", "x"), ("3", "y")))  # fmt: skip
    assert stands("features.deterministic", one, others=[one]) == "missing"
    assert stands("features.deterministic", one, others=[one, same]) == "satisfied"
    assert stands("features.deterministic", one, others=[same, other]) == "missing"


def test_parts_of_an_ensemble_are_its_children_too():
    child = view_of(id="child", artifacts=(artifact(),))
    assert examine("ensemble.parts", view_of(), Surroundings(children=[child])).evidence == "run child"


# -- one list ------------------------------------------------------------------------------------


def test_audit_gate_and_schema_know_the_same_names():
    names = [item.name for item in ITEMS]
    assert sorted(names) == sorted(get_args(config.RequiredFact)) == sorted(CHECKS) and len(set(names)) == len(names)
    assert {item.phase for item in ITEMS} == set(PHASES)
    assert [step.name for step in STEPS] == list(get_args(config.CrispStep))


def test_a_gate_can_require_every_item_and_passes_none_in_silence():
    bare = {0: view_of()}
    found = check([item.name for item in ITEMS], bare, [], [])
    assert {one.name for one in found if one.satisfied} == {"ensemble.parts"} and all(one.evidence for one in found)


def test_a_gate_asks_the_runs_of_the_audited_example(digits):
    names = [
        item.name for item in ITEMS if item.name not in ("predictions", "environment.image", "code.commit", "seeds")
    ]
    views = {0: digits.old, 1: digits.new}
    found = check(names, views, [], ["uv.lock"], baseline={0: digits.old, 1: digits.old})
    assert [one.name for one in found if not one.satisfied] == []


# -- reports -------------------------------------------------------------------------------------


@pytest.fixture
def hostile():
    evil = "<script>alert(1)</script> | @team `x` [a](http://b) \x1b[31m\n# head"
    view = view_of(id="r", project=evil, params={evil: 1, "seed": evil}, datasets=(data(name=evil, digest="x"),))
    return audit_run(view, Surroundings(notes={"modeling": evil}), version="1")


def test_the_json_is_what_the_schema_says(digits):
    made = audit_run(digits.new, Surroundings(), version="1")
    jsonschema.Draft202012Validator(schemas.load("audit")).validate(json.loads(encode(made)))
    assert json.loads(encode(made))["phases"][0]["items"][0]["name"] == "data.snapshot"


def test_foreign_text_does_nothing_in_any_report(hostile):
    page, text, lines = audit_html.render(hostile), audit_markdown.render(hostile), audit_terminal.render(hostile)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<script>" not in re.sub(r"(`+)[^\n]*?[^`]\1(?!`)", "", text)  # outside of code spans
    assert "@team" not in re.sub(r"(`+)[^\n]*?[^`]\1(?!`)", "", text)
    assert "\x1b" not in page + text + lines and "\n# head" not in text
    assert all(line.count(" | ") >= 3 for line in text.splitlines() if line.startswith("| "))


def test_the_page_shows_every_item_in_a_browser_and_fits_a_phone(digits, tmp_path):
    around = Surroundings(others=[digits.old], notes={"business_understanding": "fewer wrong parcels"})
    (tmp_path / "audit.html").write_text(audit_html.render(audit_run(digits.new, around, version="1")))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page, said = browser.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.goto((tmp_path / "audit.html").as_uri())
        text = page.inner_text("body")
        page.set_viewport_size({"width": 360, "height": 640})
        width = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert all(item.name in text for item in ITEMS) and "fewer wrong parcels" in text
    assert said == [] and width <= 360


# -- command -------------------------------------------------------------------------------------


def audit(digits, *words):
    command = [sys.executable, "-m", "unitrack", "audit", digits.new.id, *words]
    return subprocess.run(command, cwd=digits.folder, capture_output=True, text=True, env=digits.env, check=False)


def test_the_command_writes_every_format_and_compares_with_production(digits, tmp_path):
    done = audit(digits)
    assert done.returncode == 0 and "missing" in done.stdout and "What would satisfy it" in done.stdout
    found = json.loads(audit(digits, "--format", "json").stdout)
    items = {item["name"]: item for phase in found["phases"] for item in phase["items"]}
    assert items["deployment.versions"]["state"] == "satisfied", items["deployment.versions"]
    assert (found["satisfied"], found["missing"], found["not_applicable"]) == (18, 0, 2)
    for name in ("markdown", "html"):
        assert audit(digits, "--format", name, "--output", str(tmp_path / name)).returncode == 0
        assert digits.new.id in (tmp_path / name).read_text()


def test_the_command_can_end_with_what_it_found(digits):
    assert audit(digits, "--check").returncode == 0
    store = shutil.copytree(digits.folder / ".unitrack", digits.folder.parent / "alone")
    shutil.rmtree(store / "runs" / digits.old.id)
    done = audit(digits, "--check", "--dir", str(store))
    assert done.returncode == 1 and "features.deterministic" in done.stdout


def test_notes_of_the_owner_stand_in_the_settings(digits):
    file = digits.folder / "unitrack.toml"
    before = file.read_text()
    file.write_text(before + '\n[audit.notes]\nbusiness_understanding = "fewer wrong parcels"\n')
    found = json.loads(audit(digits, "--format", "json").stdout)["crisp_dm"]
    assert found[0]["note"] == "fewer wrong parcels" and found[0]["state"] == "satisfied"
    file.write_text(before + '\n[audit.notes]\nbusiness = "x"\n')
    assert audit(digits).returncode == 2
    file.write_text(before)
