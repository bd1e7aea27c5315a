"""DVC itself, with git and a remote in a folder: versions, revisions, pipelines, and a gate over a change of data."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unitrack
from unitrack_dvc import DvcResolver
from unitrack_dvc._resolver import ChangedError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what DVC imports warns on its own account

DVC_YAML = """
stages:
  features:
    cmd: python features.py
    deps: [features.py, data/raw.csv]
    outs: [features.csv]
  train:
    cmd: python train.py
    deps: [train.py, features.csv]
    params: [rate]
"""
FEATURES = "open('features.csv', 'w').write(open('data/raw.csv').read().upper())\n"
TRAIN = """
import os, random, unitrack
rows = open("features.csv").read().split()
random.seed(os.environ.get("UNITRACK_SEED", "0"))
with unitrack.init() as run:
    run.log_dataset("features.csv", split="train")
    run.log({"score": len(rows) + random.random() / 1000})
"""
SETTINGS = """
project = "shop"
capture = ["git", "dvc"]

[train]
command = ["sh", "-c", "dvc pull --quiet && dvc repro --force --single-item train"]
seeds = [0, 1, 2]
timeout = 120

[gate]
[[gate.metrics]]
name = "score"
goal = "maximize"
margin = 0.5
"""


def sh(*command, cwd=None, ok=(0,)):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode in ok, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A git and DVC repository with a file, a folder and a pipeline of two stages that ran, pushed to a remote."""
    with pytest.MonkeyPatch.context() as patch:
        base = tmp_path_factory.mktemp("made")
        (base / "shop" / "data" / "images").mkdir(parents=True)
        surround(patch, base)
        make(base)
        yield base


def surround(patch, base):
    patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    patch.setenv("HOME", str(base / "home"))
    for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        patch.setenv(name, str(base / name))
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        patch.setenv(name, "test@example.com")
    patch.setenv("DVC_NO_ANALYTICS", "1")
    patch.chdir(base / "shop")


def make(base):
    repo = base / "shop"
    (repo / "data" / "raw.csv").write_text("a b c\n")
    for name in ("one", "two"):
        (repo / "data" / "images" / name).write_text(name)
    for name, text in {
        "dvc.yaml": DVC_YAML, "features.py": FEATURES, "train.py": TRAIN, "unitrack.toml": SETTINGS,
        "params.yaml": "rate: 0.1\n", ".gitignore": ".unitrack/\ngate/\n",
    }.items():  # fmt: skip
        (repo / name).write_text(text)
    sh("git", "init", "-q", "-b", "main")
    sh("dvc", "init", "-q")
    sh("dvc", "remote", "add", "-q", "-d", "disk", str(base / "remote"))
    sh("dvc", "add", "-q", "data/raw.csv", "data/images")
    sh("dvc", "repro", "-q")
    commit("first")


@pytest.fixture
def repo(made, tmp_path, monkeypatch):
    """A copy of the repository, with a remote of its own."""
    base = tmp_path / "base"
    shutil.copytree(made, base, symlinks=True)
    surround(monkeypatch, base)
    config = base / "shop" / ".dvc" / "config"
    config.write_text(config.read_text().replace(str(made), str(base)))
    sh("git", "commit", "-qam", "another remote")
    return base / "shop"


def commit(words):
    sh("dvc", "push", "-q")
    sh("git", "add", "-A")
    sh("git", "commit", "-qm", words)


def md5_of(path):
    """Return the MD5 of the bytes as they are, which is what DVC has for them."""
    return hashlib.md5(Path(path).read_bytes()).hexdigest()


def test_a_tracked_file_has_the_md5_of_its_bytes_that_dvc_keeps(repo):
    found = DvcResolver().resolve(str(repo / "data/raw.csv"))
    assert found.version == md5_of("data/raw.csv")
    assert f"md5: {found.version}" in (repo / "data/raw.csv.dvc").read_text()
    assert found.digest == f"md5:{found.version}"
    assert found.metadata == {"path": "data/raw.csv", "file": "data/raw.csv.dvc"}


def test_a_folder_is_versioned_as_a_whole_and_each_file_in_it_by_itself(repo):
    folder = DvcResolver().resolve(str(repo / "data/images"))
    assert folder.version.endswith(".dir")
    assert folder.digest == f"md5:{folder.version.removesuffix('.dir')}"
    one = DvcResolver().resolve(str(repo / "data/images/one"))
    assert one.version == "f97c5d29941bfb1b2fdab0874906ab82"  # the MD5 of the bytes `one`
    assert one.metadata["file"].endswith("images.dvc")


def test_an_output_of_a_pipeline_names_its_stage_its_inputs_and_its_run(repo):
    found = DvcResolver().resolve(str(repo / "features.csv"))
    assert found.version == md5_of("features.csv")
    assert found.metadata["stage"] == "features"
    assert found.metadata["cmd"] == "python features.py"
    assert found.metadata["deps"]["data/raw.csv"] == md5_of("data/raw.csv")
    before = found.metadata["run"]
    (repo / "data/raw.csv").write_text("a b c d\n")
    sh("dvc", "commit", "-q", "-f", "data/raw.csv.dvc")
    sh("dvc", "repro", "-q", "features")
    assert DvcResolver().resolve(str(repo / "features.csv")).metadata["run"] != before


def test_a_revision_has_the_version_it_had_then(repo):
    before = md5_of("data/raw.csv")
    sh("git", "tag", "v1")
    (repo / "data/raw.csv").write_text("other\n")
    sh("dvc", "commit", "-q", "-f", "data/raw.csv.dvc")
    commit("second")
    assert DvcResolver().resolve("dvc://data/raw.csv").version == md5_of("data/raw.csv") != before
    assert DvcResolver().resolve("dvc://data/raw.csv?rev=v1").version == before
    assert DvcResolver().resolve(f"dvc://data/images/one?repo={repo}&rev=v1").metadata["rev"] == "v1"


def test_what_was_never_fetched_has_its_version_all_the_same(repo, tmp_path):
    sh("git", "clone", "-q", str(repo), str(tmp_path / "clone"))
    assert not (tmp_path / "clone/data/raw.csv").exists()
    assert DvcResolver().resolve(str(tmp_path / "clone/data/raw.csv")).version == md5_of("data/raw.csv")


def test_a_file_that_was_changed_since_is_not_the_version_that_dvc_knows(repo):
    (repo / "data/raw.csv").write_text("changed\n")
    with pytest.raises(ChangedError, match=r"data/raw\.csv is not what data/raw\.csv\.dvc says any more.*dvc commit"):
        DvcResolver().resolve(str(repo / "data/raw.csv"))
    (repo / "data/images/three").write_text("three")
    with pytest.raises(ChangedError, match="dvc checkout"):
        DvcResolver().resolve(str(repo / "data/images"))


def test_what_dvc_does_not_track_is_left_to_others(repo):
    assert DvcResolver().resolve(str(repo / "train.py")) is None
    assert DvcResolver().resolve(str(repo / "data")) is None  # two tracked things, no version of its own
    with pytest.raises(Exception, match=r"train\.py"):
        DvcResolver().resolve("dvc://train.py")


def test_a_dataset_of_a_run_carries_dvcs_version_beside_its_own_digest(repo):
    with unitrack.init("shop") as run:
        run.log_dataset("data/raw.csv")
    (dataset,) = unitrack.get_run(run.id).datasets
    assert dataset.version == md5_of("data/raw.csv")
    assert dataset.digest.startswith("sha256:")
    assert dataset.metadata["version_digest"] == f"md5:{dataset.version}"
    assert dataset.metadata["resolver"] == "dvc"


def test_a_training_in_a_stage_records_the_stage_and_the_versions_it_depends_on(repo):
    (repo / "params.yaml").write_text("rate: 0.2\n")
    sh("dvc", "repro", "-q", "train")
    newest = max(unitrack.runs(), key=lambda view: view.started)
    captured = newest.captures["dvc"]
    assert captured["stage"] == "train"
    assert captured["deps"]["features.csv"] == md5_of("features.csv")
    assert captured["params"] == {"rate": 0.2}


def test_an_experiment_of_dvc_is_named_with_the_commit_it_began_from(repo):
    head = sh("git", "rev-parse", "HEAD").strip()
    sh("dvc", "exp", "run", "-q", "-n", "quick", "-S", "rate=0.3", "train")
    newest = max(unitrack.runs(), key=lambda view: view.started)
    captured = newest.captures["dvc"]
    assert (captured["experiment"], captured["baseline"], captured["params"]) == ("quick", head, {"rate": 0.3})


def test_a_change_of_data_alone_is_gated_with_the_data_of_each_commit(repo):
    """The pull request changes only what `.dvc` and `dvc.lock` say: the stage trains in clean checkouts on either data."""
    base = sh("git", "rev-parse", "HEAD").strip()
    sh("git", "switch", "-qc", "worse-data")
    (repo / "data/raw.csv").write_text("a\n")
    sh("dvc", "commit", "-q", "-f", "data/raw.csv.dvc")
    sh("dvc", "repro", "-q", "features")
    commit("fewer rows")
    sh(
        sys.executable, "-m", "unitrack", "gate", "--candidate", "HEAD", "--baseline", base, "--output", "gate",
        ok=(1,),
    )  # fmt: skip
    verdict = json.loads((repo / "gate/verdict.json").read_text())
    assert verdict["outcome"] == "fail"
    (score,) = verdict["metrics"]
    assert (round(score["candidate_mean"]), round(score["baseline_mean"])) == (1, 3)
    versions = {view.datasets[0].version for view in unitrack.runs() if view.id.startswith("rerun-")}
    assert len(versions) == 2
    assert sh("git", "status", "--porcelain", "--untracked-files=no") == ""


def test_the_lock_and_the_gate_take_dvcs_versions(repo):
    """Data as inputs, which both commits share: a file by its path, and one of an earlier revision by its URI."""
    (repo / "unitrack.toml").write_text(
        SETTINGS.replace(
            "timeout = 120", 'timeout = 120\ninputs = ["features.csv", "dvc://data/raw.csv?rev=HEAD"]'
        ).replace("dvc pull --quiet && dvc repro --force --single-item train", "python train.py")
    )
    commit("inputs")
    unitrack_ = (sys.executable, "-m", "unitrack")
    sh(*unitrack_, "lock")
    inputs = {one["name"]: one for one in json.loads((repo / "unitrack.lock").read_text())["inputs"]}
    assert (inputs["features.csv"]["system"], inputs["features.csv"]["version"]) == ("dvc", md5_of("features.csv"))
    assert inputs["dvc://data/raw.csv?rev=HEAD"]["version"] == md5_of("data/raw.csv")
    commit("lock")
    sh(*unitrack_, "gate", "--baseline", "HEAD~1", "--seeds", "1")
    (repo / "features.csv").chmod(0o644)
    (repo / "features.csv").write_text("A\n")
    told = subprocess.run([*unitrack_, "gate", "--baseline", "HEAD~1"], capture_output=True, text=True, check=False)
    assert told.returncode == 4
    assert "dvc commit" in told.stderr
    sh("dvc", "commit", "-q", "-f", "features")
    assert "features.csv" in sh(*unitrack_, "lock", "--check", ok=(1,))
