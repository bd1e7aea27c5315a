"""The example of one dispatcher for many trainings holds what a machine and a cluster would accept."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import unitrack
from unitrack.cli.sync import command as sync
from unitrack.config import load_settings

EXAMPLE = Path(__file__).parents[2] / "examples" / "external_dispatcher"
UNIT = EXAMPLE / "unitrack-dispatcher.service"


def accepted(words):
    """Have `unitrack sync` parse its arguments as the shell would hand them over."""
    assert words[:2] == ["unitrack", "sync"]
    return sync.make_context("sync", words[2:]).params


def test_the_unit_is_one_that_systemd_takes_and_its_command_one_that_unitrack_has():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    env, *words = shlex.split(unit["Service"]["ExecStart"])
    assert env == "/usr/bin/env"
    assert accepted(words)["follow"] is True
    assert unit["Service"]["SuccessExitStatus"] == "130"
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr


def test_the_manifest_is_yaml_with_commands_and_settings_that_unitrack_has():
    job = yaml.safe_load((EXAMPLE / "sidecar.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    (sidecar,), (train,) = pod["initContainers"], pod["containers"]
    assert sidecar["restartPolicy"] == "Always", "that is what makes it a sidecar"
    assert accepted(sidecar["command"])["follow"] is True
    assert accepted(sidecar["lifecycle"]["preStop"]["exec"]["command"])["patience"] == 30
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in (sidecar, train):
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        given = {one["name"]: one.get("value", "x") for one in container["env"]}
        settings = load_settings(EXAMPLE, given)
        assert str(settings.store) == "/store" and settings.dispatch == "external"
    assert "envFrom" not in train, "training has no credentials"


def test_training_starts_nothing_and_the_dispatcher_serves_and_ends_when_asked(chaos, tmp_path):
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "example"))
    (folder / "unitrack.toml").write_text(
        (folder / "unitrack.toml").read_text().split("[backends")[0] + f'[backends.chaos]\nfolder = "{chaos}"\n'
    )
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, timeout=60, stdout=subprocess.DEVNULL)
    (view,) = unitrack.runs(dir=folder / ".unitrack")
    assert not list((folder / ".unitrack").glob("runs/*/sync/*"))
    dispatcher = subprocess.Popen(
        [sys.executable, "-m", "unitrack", "sync", "--follow"], cwd=folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 30
    while not (chaos / f"{view.id}.status").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    dispatcher.send_signal(signal.SIGTERM)
    assert dispatcher.wait(20) == 130


@pytest.mark.parametrize("name", ["README.md", "unitrack.toml", "train.py"])
def test_the_example_is_whole(name):
    assert os.access(EXAMPLE / name, os.R_OK)
