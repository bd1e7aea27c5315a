from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unitrack.errors import EvidenceError, UsageError
from unitrack.rerun.checkout import checkout, commit_warnings, dirty_warning
from unitrack.rerun.git import Repository, find_repository


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "train.py").write_text("print('one')\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "One")
    return find_repository(root)


def change(repository: Repository, name: str, text: str, message: str) -> str:
    path = repository.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git(repository.root, "add", name)
    git(repository.root, "commit", "-q", "-m", message)
    return git(repository.root, "rev-parse", "HEAD")


def test_names_of_commits_become_full_ids(repository: Repository) -> None:
    head = git(repository.root, "rev-parse", "HEAD")
    assert repository.commit("HEAD") == repository.commit("main") == repository.commit(head[:8]) == head
    assert find_repository(repository.root) == repository


@pytest.mark.parametrize("ref", ["nowhere", "--all", "-x", "HEAD:train.py", ""])
def test_what_names_no_commit_is_a_usage_error_with_a_remedy(repository: Repository, ref: str) -> None:
    with pytest.raises(UsageError, match="names no commit .* fetch it"):
        repository.commit(ref)


def test_a_repository_without_commits_says_so(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(UsageError, match="no commit yet"):
        find_repository(tmp_path).commit("HEAD")


def test_a_shallow_clone_says_how_to_fetch_the_rest(repository: Repository, tmp_path: Path) -> None:
    old = repository.commit("HEAD")
    change(repository, "train.py", "two", "Two")
    git(tmp_path, "clone", "-q", "--depth", "1", repository.root.as_uri(), "shallow")
    with pytest.raises(UsageError, match="fetch --unshallow"):
        find_repository(tmp_path / "shallow").commit(old)


def test_a_folder_outside_of_git_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="git init"):
        find_repository(tmp_path)


def test_without_git_itself_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EvidenceError, match="install git"):
        find_repository(tmp_path)


def test_a_file_is_read_as_a_ref_has_it(repository: Repository) -> None:
    first = repository.commit("HEAD")
    change(repository, "train.py", "two", "Two")
    assert repository.text(first, "train.py") == "print('one')\n"
    with pytest.raises(UsageError, match=r"no file other\.toml"):
        repository.text(first, "other.toml")


def test_what_changed_between_two_commits_is_listed(repository: Repository) -> None:
    first = repository.commit("HEAD")
    second = change(repository, "dir/né w.py", "x", "Add | a file")
    assert repository.changed_files(first, second) == ("dir/né w.py",)
    (subject,) = repository.subjects(first, second)
    assert subject.endswith(" Add | a file")
    assert repository.subjects(second, first) == ()


def test_a_checkout_has_the_commits_content_and_is_gone_afterwards(repository: Repository) -> None:
    first = repository.commit("HEAD")
    change(repository, "train.py", "two", "Two")
    (repository.root / "train.py").write_text("dirty")
    with checkout(repository, first) as folder:
        assert (folder / "train.py").read_text() == "print('one')\n"
        assert folder.name == "project"
        (folder / "made").mkdir()
    assert not folder.parent.exists()
    assert git(repository.root, "worktree", "list").count("\n") == 0
    assert (repository.root / "train.py").read_text() == "dirty"
    assert git(repository.root, "branch", "--show-current") == "main"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_checkout_is_gone_however_it_ends(repository: Repository, error: type[BaseException]) -> None:
    with pytest.raises(error), checkout(repository, "HEAD") as folder:
        raise error
    assert not folder.parent.exists()
    assert git(repository.root, "worktree", "list").count("\n") == 0


def test_a_checkout_runs_no_hook_of_the_repository(repository: Repository, tmp_path: Path) -> None:
    hook = repository.root / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with checkout(repository, "HEAD"):
        pass
    assert not (tmp_path / "ran").exists()


def test_a_checkout_that_git_refuses_is_an_evidence_error(repository: Repository) -> None:
    with pytest.raises(EvidenceError, match="can't be checked out"), checkout(repository, "0" * 40):
        pass


def test_uncommitted_changes_are_named_but_not_those_in_the_store(repository: Repository) -> None:
    store = repository.root / ".unitrack"
    store.mkdir()
    (store / "x.json").write_text("{}")
    assert dirty_warning(repository, store) is None
    (repository.root / "train.py").write_text("dirty")
    (repository.root / "né w.py").write_text("new")
    warning = dirty_warning(repository, store)
    assert warning is not None
    assert "train.py" in warning
    assert "né w.py" in warning


def test_a_rename_counts_once(repository: Repository) -> None:
    git(repository.root, "mv", "train.py", "moved.py")
    assert repository.uncommitted() == ("moved.py",)


def test_submodules_and_lfs_pointers_are_warned_of(repository: Repository) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (repository.root / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repository.root / ".gitmodules").write_text('[submodule "lib"]\n\tpath = libs/lib\n\turl = ../lib\n')
    git(repository.root, "config", "filter.lfs.clean", "cat")
    git(repository.root, "add", ".")
    commit = change(repository, "data.bin", pointer, "Data")
    with checkout(repository, commit) as folder:
        submodules, lfs = commit_warnings(repository, commit, folder)
    assert "libs/lib" in submodules
    assert "data.bin" in lfs
    assert "git lfs" in lfs


def test_a_plain_commit_has_no_warnings(repository: Repository) -> None:
    with checkout(repository, "HEAD") as folder:
        assert commit_warnings(repository, repository.commit("HEAD"), folder) == ()
