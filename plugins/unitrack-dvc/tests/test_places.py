"""What is DVC's and what is not is told by names alone, without DVC."""

import subprocess
import sys

import pytest

from unitrack_dvc._places import find_place
from unitrack_dvc._stage import DvcCollector, run_id_of


@pytest.fixture
def repo(tmp_path):
    (tmp_path / "repo" / ".dvc").mkdir(parents=True)
    (tmp_path / "repo" / ".dvc" / "config").touch()
    return tmp_path / "repo"


def test_a_path_belongs_to_the_innermost_repository(repo):
    inner = repo / "sub"
    (inner / ".dvc").mkdir(parents=True)
    (inner / ".dvc" / "config").touch()
    place = find_place(str(inner / "data" / "d.csv"), repo)
    assert (place.repo, place.path, place.rev) == (str(inner), "data/d.csv", None)


@pytest.mark.parametrize("uri", ["s3://bucket/key", "relative/path", "pfs://repo@master"])
def test_what_is_no_path_and_no_dvc_uri_is_not_dvcs(uri, repo):
    assert find_place(uri, repo) is None


def test_a_path_outside_of_any_repository_is_not_dvcs(tmp_path):
    assert find_place(str(tmp_path / "d.csv"), tmp_path) is None


def test_a_uri_names_a_path_of_this_repository_or_of_another_at_any_revision(repo):
    here = find_place("dvc://data/d.csv", repo / "src")
    assert (here.repo, here.path, here.rev) == (str(repo), "data/d.csv", None)
    there = find_place("dvc://data/d.csv?repo=https://example.com/r.git&rev=v1", repo)
    assert (there.repo, there.path, there.rev) == ("https://example.com/r.git", "data/d.csv", "v1")


@pytest.mark.parametrize(
    ("uri", "words"),
    [("dvc://", "names no path"), ("dvc://d?branch=x", "not branch"), ("dvc://d", "no DVC repository")],
)
def test_a_uri_that_cannot_be_says_what_is_wrong(uri, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        find_place(uri, tmp_path)


def test_a_training_outside_of_a_pipeline_has_nothing_to_tell():
    assert DvcCollector({}).collect() == {}


def test_a_stages_run_is_another_one_if_anything_that_goes_in_changes():
    same = run_id_of("python t.py", {"d": "1"}, {"lr": 0.1})
    assert run_id_of("python t.py", {"d": "1"}, {"lr": 0.1}) == same
    others = [
        ("python u.py", {"d": "1"}, {"lr": 0.1}),
        ("python t.py", {"d": "2"}, {"lr": 0.1}),
        ("python t.py", {"d": "1"}, {}),
    ]
    assert len({same, *(run_id_of(*other) for other in others)}) == 4


def test_the_plugin_imports_no_dvc_until_a_path_is_in_a_repository(tmp_path):
    code = (
        "import sys, unitrack_dvc\n"
        f"assert unitrack_dvc.DvcResolver().resolve({str(tmp_path / 'd.csv')!r}) is None\n"
        "print('dvc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
