"""The container, the script, seeds and switches, and the load of the machine are told as far as they can be seen."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import unitrack
from unitrack.capture import sampling
from unitrack.capture.container import ContainerCollector
from unitrack.capture.seeds import seeds_at_end, seeds_at_start
from unitrack.capture.source import SourceCollector, notebook_cells, script_path
from unitrack.objects import ObjectStore

DIGEST = "sha256:" + "ab" * 32


# -- container -----------------------------------------------------------------------------------


def test_outside_of_a_container_there_is_nothing_to_tell(tmp_path):
    assert ContainerCollector(tmp_path, variables={}).collect() == {}


def test_the_variable_names_the_image_by_digest(tmp_path):
    (tmp_path / ".dockerenv").touch()
    found = ContainerCollector(tmp_path, variables={"UNITRACK_IMAGE": f"ghcr.io/o/train@{DIGEST}"}).collect()
    assert found == {
        "engine": "docker", "image": f"ghcr.io/o/train@{DIGEST}", "image_digest": DIGEST, "source": "UNITRACK_IMAGE",
    }  # fmt: skip


def test_podmans_own_file_is_read_and_an_empty_one_says_no_more_than_podman(tmp_path):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / ".containerenv"
    file.touch()
    assert ContainerCollector(tmp_path, variables={}).collect() == {"engine": "podman"}
    file.write_text(f'engine="podman-4.9"\nid="{"c" * 64}"\nimage="docker.io/o/train:1"\nimageid="{"ab" * 32}"\n')
    found = ContainerCollector(tmp_path, variables={}).collect()
    assert (found["engine"], found["image"], found["image_digest"]) == ("podman", "docker.io/o/train:1", DIGEST)
    assert found["id"] == "c" * 64


@pytest.mark.parametrize(
    ("variables", "engine"),
    [({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"), ({"APPTAINER_CONTAINER": "/i/train.sif"}, "apptainer")],
)
def test_pods_and_singularity_are_known_by_their_variables(tmp_path, variables, engine):
    assert ContainerCollector(tmp_path, variables=variables).collect()["engine"] == engine


# -- source --------------------------------------------------------------------------------------


def test_the_script_is_kept_without_secrets_and_a_run_knows_its_digest(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(
        "import unitrack\npassword = 'hunter2'\n"
        f"with unitrack.init('p', dir={str(tmp_path / 's')!r}) as run:\n    run.log({{'x': 1}})\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, cwd=tmp_path)
    (view,) = unitrack.runs(dir=tmp_path / "s")
    assert view.captures["source"]["script"] == str(script) and len(view.captures["source"]["sha256"]) == 64
    (kept,) = [each for each in view.artifacts if each.kind == "source" and each.name.startswith("source/source")]
    text = ObjectStore(tmp_path / "s" / "objects").get(kept.digest).read_text()
    assert kept.name == "source/source/study.py" and "hunter2" not in text and "run.log({'x': 1})" in text


def test_an_installed_program_is_named_and_not_kept():
    collector = SourceCollector(pytest.__file__)
    assert collector.collect()["script"] == pytest.__file__ and collector.attachments() == {}
    assert SourceCollector(None).collect() == {} and SourceCollector("/nowhere.py").collect() == {
        "script": "/nowhere.py"
    }
    assert script_path(None) is None and script_path(SimpleNamespace(__file__="/x/ipykernel_launcher.py")) is None


def test_the_cells_of_a_notebook_are_those_that_ran():
    """On IPython's documented attributes: it is no requirement of ours."""
    shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=["", "x = 1", "print(x)"]), user_ns={})
    modules = {"IPython": SimpleNamespace(get_ipython=lambda: shell)}
    about, text = notebook_cells(modules, {"JPY_SESSION_NAME": "/home/mia/study.ipynb"})
    assert about == {"notebook": "study.ipynb", "cells": 2} and text == "# cell 1\nx = 1\n\n# cell 2\nprint(x)"
    assert notebook_cells({}, {}) == ({}, None)
    assert notebook_cells({"IPython": SimpleNamespace(get_ipython=lambda: None)}, {}) == ({}, None)


# -- seeds ---------------------------------------------------------------------------------------


def test_equal_states_of_generators_are_told_alike_and_others_not():
    def told():
        return seeds_at_start(sys.modules, {})["generators"]

    random.seed(1)
    np.random.seed(1)
    first = told()
    random.seed(1)
    np.random.seed(1)
    assert told() == first and {"random", "numpy"} <= set(first)
    random.random()
    assert told()["random"] != first["random"] and told()["numpy"] == first["numpy"]


def test_switches_of_torch_are_read_where_it_is_loaded():
    """On a stand-in with torch's documented names: the real one is too large for these tests."""
    torch = SimpleNamespace(
        initial_seed=lambda: 7, are_deterministic_algorithms_enabled=lambda: True, get_num_threads=lambda: 2,
        backends=SimpleNamespace(cudnn=SimpleNamespace(deterministic=True, benchmark=False, version=lambda: 90100)),
        version=SimpleNamespace(cuda="12.4"),
    )  # fmt: skip
    found = seeds_at_end({"torch": torch})
    assert found["torch"] == {
        "initial_seed": 7, "deterministic_algorithms": True, "cudnn_deterministic": True, "cudnn_benchmark": False,
        "threads": 2, "cuda": "12.4", "cudnn": 90100,
    }  # fmt: skip
    assert found["frameworks"] == ["torch"] and seeds_at_end({}) == {}


def test_a_run_knows_its_hash_seed_threads_and_pools(tmp_path):
    code = f"import sklearn, unitrack\nwith unitrack.init('p', dir={str(tmp_path / 's')!r}):\n    pass\n"
    env = {**os.environ, "PYTHONHASHSEED": "3", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    (view,) = unitrack.runs(dir=tmp_path / "s")
    seeds = view.captures["seeds"]
    assert (seeds["hash_seed"], seeds["threads"], seeds["frameworks"]) == ("3", {"OMP_NUM_THREADS": "1"}, ["sklearn"])
    assert (
        seeds["hash_randomization"] is True
        or seeds["hash_seed"]
        and any(pool["num_threads"] for pool in seeds["pools"])
    )


# -- load ----------------------------------------------------------------------------------------


def system_of(root, *, ticks, own, read, received):
    (root / "proc" / "net").mkdir(parents=True, exist_ok=True)
    (root / "proc" / "7").mkdir(exist_ok=True)
    (root / "proc" / "stat").write_text(f"cpu  {ticks} 0 0 100 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
    (root / "proc" / "7" / "stat").write_text(f"7 (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 {own} 0 0 0 20 0 1 0 1 1 1\n")
    (root / "proc" / "7" / "statm").write_text("100 50 1 1 0 1 0\n")
    (root / "proc" / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n")
    (root / "proc" / "diskstats").write_text(
        f" 8 0 sda 1 0 {read} 0 1 0 {read} 0 0 0 0\n 8 1 sda1 1 0 999999 0 1 0 9 0 0 0 0\n 7 0 loop0 1 0 9 0 1 0 9 0\n"
    )
    (root / "proc" / "net" / "dev").write_text(
        f"Inter-|\n face |\n    lo: 5 0 0 0 0 0 0 0 5 0 0\n  eth0:{received} 0 0 0 0 0 0 0 {received} 0 0\n"
    )


def test_shares_sizes_and_rates_are_those_since_the_last_sample(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    system_of(tmp_path, ticks=0, own=0, read=0, received=0)
    sampler = sampling.Sampler(7, str(tmp_path), tmp_path)
    begun = sampler._at
    system_of(tmp_path, ticks=300, own=os.sysconf("SC_CLK_TCK"), read=20, received=4096)
    found = sampler.sample(begun + 2)
    assert found["cpu/percent"] == 100 and found["cpu/process_percent"] == 50
    assert (found["disk/read_per_s"], found["network/sent_per_s"]) == (5120, 2048)
    assert (found["memory/used"], found["memory/percent"]) == (750 * 1024, 75)
    assert found["memory/process"] == 50 * os.sysconf("SC_PAGE_SIZE") and 0 < found["disk/percent"] < 100


def test_gpus_are_sampled_where_there_are_any_and_a_program_that_fails_is_asked_once(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "0, 87, 1024, 61, 250.5"\necho "1, [N/A], 2048, 60, [N/A]"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sampler = sampling.Sampler(os.getpid(), str(tmp_path))
    found = {name: value for name, value in sampler.sample().items() if name.startswith("gpu")}
    assert found == {
        "gpu/0/percent": 87, "gpu/0/memory": 1 << 30, "gpu/0/celsius": 61, "gpu/0/watts": 250.5,
        "gpu/1/memory": 2 << 30, "gpu/1/celsius": 60,
    }  # fmt: skip
    program.write_text(f"#!/bin/sh\necho x >> {tmp_path}/asked\nexit 9\n")
    sampler.sample()
    sampler.sample()
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_run_has_samples_and_its_end_ends_the_sampler_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_SYSTEM_METRICS", "0.1")
    run = unitrack.init("p", dir=tmp_path / "s")
    process = run._services._captures._process
    end = time.monotonic() + 20
    while '"system"' not in run._writer.path.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "sampling.py" in Path(f"/proc/{process.pid}/cmdline").read_text()
    resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 20 << 20  # an interpreter without packages
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 2 and process.wait(10) == 0
    view = unitrack.get_run(run.id, dir=tmp_path / "s")
    assert view.system["memory/process"].last > 1 << 20 and len(view.system_series("cpu/percent")) >= 1


def test_a_training_that_is_killed_takes_its_sampler_along(tmp_path):
    code = (
        f"import time, unitrack\nrun = unitrack.init('p', dir={str(tmp_path / 's')!r})\n"
        "run._services._captures._over.wait(20)\nprint(run._services._captures._process.pid, flush=True)\ntime.sleep(60)\n"
    )
    env = {**os.environ, "UNITRACK_SYSTEM_METRICS": "0.1"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as training:
        pid = int(training.stdout.readline())
        training.kill()
    end = time.monotonic() + 20
    while (
        Path(f"/proc/{pid}/stat").exists()
        and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_no_samples_and_no_sampler_where_none_are_wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_SYSTEM_METRICS", "0")
    with unitrack.init("p", dir=tmp_path / "s") as run:
        assert run._services._captures._over.wait(20)
    assert run._services._captures._process.wait(10) == 0
    lines = [json.loads(line) for line in run._writer.path.read_text().splitlines()]
    assert not any(line["type"] == "system" for line in lines)
