"""The machine is told as far as it tells of itself."""

import json
import os

import pytest

from unitrack.capture.hardware import HardwareCollector


@pytest.fixture
def programs(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def add(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return add


def test_this_machine_has_cores_memory_and_a_name():
    facts = HardwareCollector().collect()
    assert facts["cores"] >= facts["usable_cores"] > 0 and facts["memory"] > 1 << 20 and facts["machine"]
    json.dumps(facts)


def test_processor_and_limits_are_read_from_the_system(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast  CPU @ 3GHz\nmodel name\t: other\n")
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "cgroup" / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "sys" / "fs" / "cgroup" / "memory.max").write_text("1048576\n")
    facts = HardwareCollector(tmp_path).collect()
    assert (facts["cpu"], facts["usable_cores"], facts["memory_limit"]) == ("Fast CPU @ 3GHz", 0.5, 1 << 20)
    (tmp_path / "sys" / "fs" / "cgroup" / "cpu.max").write_text("max 100000\n")
    (tmp_path / "sys" / "fs" / "cgroup" / "memory.max").write_text("max\n")
    facts = HardwareCollector(tmp_path).collect()
    assert facts["usable_cores"] >= 1 and "memory_limit" not in facts


def test_gpus_are_asked_of_nvidia_smi(programs):
    programs("nvidia-smi", 'echo "NVIDIA A100, 81920, 550.54"; echo "NVIDIA A100, [N/A], 550.54"')
    facts = HardwareCollector().collect()
    assert facts["gpus"] == ["NVIDIA A100"] * 2 and facts["gpu_driver"] == "550.54"
    assert facts["gpu_memory"] == [81920 << 20, None]


@pytest.mark.parametrize("script", ["exit 9", "exec sleep 60", "echo 'No devices were found'", "echo; echo ,,,,,"])
def test_a_failing_or_slow_nvidia_smi_costs_the_gpus_only(programs, script):
    programs("nvidia-smi", script)
    facts = HardwareCollector(seconds=0.2).collect()
    assert "gpus" not in facts and facts["cores"]
