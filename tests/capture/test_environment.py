"""The environment is told without starting a program and without secrets."""

import json
import platform
import sys

from unitrack.capture.environment import EnvironmentCollector, installed_packages
from unitrack.capture.hooks import unitrack_register_collectors


def test_the_built_in_collectors_have_the_names_settings_use():
    assert [collector.name for collector in unitrack_register_collectors()] == ["git", "environment", "hardware"]


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
