"""Git is asked, never disturbed; outside a repository there is nothing to tell."""

import os
import subprocess
import threading

import pytest

from unitrack.capture.git import GitCollector


def git(folder, *words):
    identity = ["-c", "user.name=mia", "-c", "user.email=mia@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "train.py").write_text("print(1)\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_checkout_tells_commit_branch_and_root(repository):
    facts = GitCollector(repository).collect()
    assert len(facts.pop("commit")) == 40
    assert facts == {"branch": "main", "root": str(repository), "dirty": False, "untracked": 0}


def test_a_subfolder_and_an_untracked_file_are_seen(repository, monkeypatch):
    (repository / "sub").mkdir()
    (repository / "sub" / "new.py").touch()
    monkeypatch.chdir(repository / "sub")
    facts = GitCollector().collect()
    assert (facts["root"], facts["dirty"], facts["untracked"]) == (str(repository), False, 1)
    assert "patch" not in facts


def test_uncommitted_changes_have_one_fingerprint_whatever_the_users_settings(repository):
    (repository / "train.py").write_text("print(2)\n")
    facts = GitCollector(repository).collect()
    assert facts["dirty"] and len(facts["patch"]["sha256"]) == 64 and facts["patch"]["size"] > 100
    for setting, value in (("noprefix", "true"), ("algorithm", "patience"), ("context", "0"), ("external", "false")):
        git(repository, "config", f"diff.{setting}", value)
    git(repository, "add", ".")
    assert GitCollector(repository).collect()["patch"] == facts["patch"]
    (repository / "train.py").write_text("print(3)\n")
    assert GitCollector(repository).collect()["patch"] != facts["patch"]


def test_a_remotes_credentials_are_hidden(repository):
    git(repository, "remote", "add", "origin", "https://mia:hunter2@example.org/o/r.git")
    assert GitCollector(repository).collect()["remote"] == "https://***@example.org/o/r.git"
    git(repository, "remote", "add", "fork", "git@example.org:o/r.git")
    git(repository, "config", "branch.main.remote", "fork")
    assert GitCollector(repository).collect()["remote"] == "git@example.org:o/r.git"


def test_a_detached_head_has_no_branch_and_an_empty_repository_no_commit(repository, tmp_path):
    git(repository, "checkout", "-q", "--detach")
    assert "branch" not in GitCollector(repository).collect()
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q", "-b", "main")
    facts = GitCollector(tmp_path / "empty").collect()
    assert "commit" not in facts and facts["branch"] == "main"


def test_without_a_repository_or_git_or_a_folder_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    assert GitCollector(tmp_path / "plain").collect() == {}
    assert GitCollector(tmp_path / "gone").collect() == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert GitCollector(tmp_path / "plain").collect() == {}


def test_a_repository_git_refuses_to_read_is_told(repository):
    (repository / ".git" / "config").write_text("[core]\n\trepositoryformatversion = 99\n")
    assert "version" in GitCollector(repository).collect()["error"]


def test_a_slow_git_is_not_waited_for(repository, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert GitCollector(repository, seconds=0.05).collect() == {}


def test_programs_the_repository_names_are_not_started(repository, tmp_path):
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "core.pager", "diff.x.textconv", "diff.x.command"):
        git(repository, "config", key, str(trap))
    (repository / ".gitattributes").write_text("*.py diff=x\n")
    (repository / "train.py").write_text("print(2)\n")
    assert GitCollector(repository).collect()["dirty"]
    assert not (tmp_path / "sprung").exists()


def test_it_works_in_a_thread(repository):
    found = []
    thread = threading.Thread(target=lambda: found.append(GitCollector(repository).collect()))
    thread.start()
    thread.join()
    assert found[0]["branch"] == "main"


def test_the_patch_is_kept_unless_it_is_too_large(repository, monkeypatch):
    collector = GitCollector(repository)
    assert collector.collect()["dirty"] is False and collector.attachments() == {}
    (repository / "train.py").write_text("print(2)\n")
    assert collector.collect()["patch"]["kept"]
    assert b"+print(2)" in collector.attachments()["changes.patch"]
    monkeypatch.setattr("unitrack.capture.git._LARGEST_PATCH", 10)
    large = GitCollector(repository)
    assert large.collect()["patch"]["kept"] is False and large.attachments() == {}


def test_submodules_are_told_with_their_commits(repository, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q", "-b", "main")
    (library / "lib.py").write_text("x = 1\n")
    git(library, "add", ".")
    git(library, "commit", "-q", "-m", "library")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib (1)")
    git(repository, "commit", "-q", "-m", "with a library")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=library, check=True, capture_output=True, text=True).stdout
    expected = {"path": "lib (1)", "commit": head.strip(), "state": "clean"}
    assert GitCollector(repository).collect()["submodules"] == [expected]
    (repository / "lib (1)" / "lib.py").write_text("x = 2\n")
    git(repository / "lib (1)", "commit", "-q", "-a", "-m", "changed")
    (found,) = GitCollector(repository).collect()["submodules"]
    assert found["state"] == "modified" and found["commit"] != expected["commit"]
