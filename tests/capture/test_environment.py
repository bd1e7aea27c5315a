"""The environment is told without starting a program and without secrets."""

import json
import platform
import sys

from unitrack.capture.environment import EnvironmentCollector, installed_packages, packages_digest
from unitrack.capture.hooks import unitrack_register_collectors


def test_the_built_in_collectors_have_the_names_settings_use():
    assert [collector.name for collector in unitrack_register_collectors()] == [
        "git", "environment", "hardware", "container",
    ]  # fmt: skip


def test_interpreter_and_packages_are_told_as_json():
    facts = EnvironmentCollector(variables={}).collect()
    assert facts["python"] == platform.python_version() and facts["variables"] == {}
    assert facts["packages"]["msgspec"] and "/" not in facts["executable"]
    json.dumps(facts)


def test_only_listed_variables_are_kept_and_their_secrets_hidden():
    given = {"CUDA_VISIBLE_DEVICES": "0,1", "SECRET_SAUCE": "x", "NCCL_AUTH_TOKEN": "x", "MASTER_ADDR": "http://a:b@c"}
    kept = EnvironmentCollector(variables=given).collect()["variables"]
    assert kept == {"CUDA_VISIBLE_DEVICES": "0,1", "MASTER_ADDR": "http://***@c", "NCCL_AUTH_TOKEN": "***"}


def test_packages_are_read_from_the_folders_on_the_path_and_the_first_counts(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "My_Package-1.0+cu121.dist-info").mkdir(parents=True)
    (second / "my.package-0.9.dist-info").mkdir(parents=True)
    (second / "old.egg-info").mkdir()
    (second / "old.egg-info" / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Old.One\nVersion: 3\n")
    (second / "broken.egg-info").mkdir()
    (second / "no_version.dist-info").mkdir()
    path = [str(first), str(second), str(tmp_path / "gone"), sys.executable]
    assert installed_packages(path) == {"my-package": "1.0+cu121", "old-one": "3"}


def test_hashes_of_packages_are_those_their_installer_wrote_down(tmp_path):
    site = tmp_path / "site"
    for name, origin in {
        "archive-1.0": {"url": "file:///a.whl", "archive_info": {"hashes": {"sha256": "aa"}}},
        "older-1.0": {"url": "file:///a.whl", "archive_info": {"hash": "sha256=bb"}},
        "commit-1.0": {"url": "https://mia:pw@h/r", "vcs_info": {"vcs": "git", "commit_id": "cc"}},
        "folder-1.0": {"url": "file:///a", "dir_info": {"editable": True}},
    }.items():
        (site / f"{name}.dist-info").mkdir(parents=True)
        (site / f"{name}.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    (site / "broken-1.0.dist-info").mkdir()
    (site / "broken-1.0.dist-info" / "direct_url.json").write_text("[]")
    (tmp_path / "env" / "conda-meta").mkdir(parents=True)
    (tmp_path / "env" / "conda-meta" / "lib.json").write_text(json.dumps({"name": "lib", "sha256": "dd"}))
    (tmp_path / "env" / "conda-meta" / "bad.json").write_text("{}")
    facts = EnvironmentCollector(path=[str(site)], prefix=tmp_path / "env", folder=tmp_path).collect()
    assert facts["package_hashes"] == {
        "archive": "sha256:aa", "older": "sha256:bb", "commit": "git:cc", "lib": "sha256:dd",
    }  # fmt: skip


def test_one_digest_tells_whether_the_files_of_all_packages_are_the_same(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.0.dist-info" / "RECORD").write_text(f"{name}.py,sha256=x,1")
    first = packages_digest([str(tmp_path)])
    assert first == packages_digest([str(tmp_path)]) and len(first) == 64
    (tmp_path / "b-1.0.dist-info" / "RECORD").write_text("b.py,sha256=y,1")
    assert packages_digest([str(tmp_path)]) != first


def test_lock_files_are_found_up_to_the_repositorys_root(tmp_path):
    (tmp_path / "uv.lock").write_text("outside")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "sub").mkdir()
    assert "locks" not in EnvironmentCollector(path=[], folder=tmp_path / "repository" / "sub").collect()
    (tmp_path / "repository" / "uv.lock").write_text("x")
    locks = EnvironmentCollector(path=[], folder=tmp_path / "repository" / "sub").collect()["locks"]
    assert locks == {"uv.lock": "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
