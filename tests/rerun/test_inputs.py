from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unitrack.errors import EvidenceError, UsageError
from unitrack.rerun.git import Repository, find_repository
from unitrack.rerun.inputs import pin_inputs


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "project"
    (root / "data/deep").mkdir(parents=True)
    (root / "data/kept.csv").write_text("tracked")
    (root / "data/raw.csv").write_text("raw")
    (root / "data/deep/more.csv").write_text("more")
    for arguments in (["init", "-q"], ["add", "data/kept.csv"], ["commit", "-qm", "Data"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return find_repository(root)


def test_only_what_git_does_not_track_is_pinned_and_linked(repository: Repository, tmp_path: Path) -> None:
    inputs = pin_inputs(repository, repository.root, ("data/",))
    assert sorted(file.name for file in inputs.files) == ["data/deep/more.csv", "data/raw.csv"]
    clean = tmp_path / "clean"
    (clean / "data").mkdir(parents=True)
    (clean / "data/kept.csv").write_text("of the commit")
    inputs.link_into(clean)
    assert (clean / "data/kept.csv").read_text() == "of the commit"
    assert (clean / "data/raw.csv").read_text() == "raw"
    assert (clean / "data/deep/more.csv").read_text() == "more"


def test_the_digest_is_of_names_and_contents(repository: Repository) -> None:
    def digest() -> str:
        ((_, found),) = pin_inputs(repository, repository.root, ("data",)).digests
        return found

    first, raw = digest(), repository.root / "data/raw.csv"
    assert digest() == first
    raw.write_text("other")
    second = digest()
    raw.rename(raw.with_name("renamed.csv"))
    assert len({first, second, digest()}) == 3


def test_an_input_that_is_not_there_is_an_evidence_error(repository: Repository) -> None:
    with pytest.raises(EvidenceError, match=r"nothing does not exist: fetch it"):
        pin_inputs(repository, repository.root, ("nothing",))


def test_an_input_outside_of_the_project_needs_an_absolute_path(repository: Repository, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("x")
    with pytest.raises(UsageError, match="absolute path"):
        pin_inputs(repository, repository.root, ("../outside.csv",))
    inputs = pin_inputs(repository, repository.root, (str(outside),))
    inputs.link_into(tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
    assert len(inputs.digests) == 1


def test_an_input_that_training_wrote_to_is_noticed(repository: Repository) -> None:
    inputs = pin_inputs(repository, repository.root, ("data",))
    assert inputs.changed() == ()
    (repository.root / "data/raw.csv").write_text("longer than before")
    (repository.root / "data/deep/more.csv").unlink()
    assert sorted(inputs.changed()) == ["data/deep/more.csv", "data/raw.csv"]
