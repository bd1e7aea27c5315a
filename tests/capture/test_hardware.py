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


def test_abilities_of_the_processor_are_told_in_order(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("model name\t: x\nflags\t\t: sse avx2 avx\n\nflags\t\t: other\n")
    assert HardwareCollector(tmp_path).collect()["cpu_flags"] == "avx avx2 sse"
    (tmp_path / "proc" / "cpuinfo").write_text("Features\t: fp asimd\n")
    assert HardwareCollector(tmp_path).collect()["cpu_flags"] == "asimd fp"


def test_the_version_of_cuda_is_what_the_driver_says(programs):
    """In the words of the program's own manual: no such device is here."""
    programs(
        "nvidia-smi",
        'case "$1" in -q) echo "CUDA Version                              : 12.4";; *) echo "T4, 16384, 550.54";; esac',
    )
    assert HardwareCollector().collect()["cuda"] == "12.4"


def test_gpus_of_amd_are_named_by_the_kernel(tmp_path):
    for number in (0, 1):
        (tmp_path / f"sys/class/drm/card{number}/device").mkdir(parents=True)
        (tmp_path / f"sys/class/drm/card{number}/device/product_name").write_text("Instinct MI210\n")
    (tmp_path / "sys/module/amdgpu").mkdir(parents=True)
    (tmp_path / "sys/module/amdgpu/version").write_text("6.3\n")
    facts = HardwareCollector(tmp_path).collect()
    assert (facts["gpus"], facts["gpu_driver"]) == (["Instinct MI210"] * 2, "6.3")
