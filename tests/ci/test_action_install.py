"""What the action installs: this checkout, and packages whose bytes are pinned."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from action_runner import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCK = ROOT / "constraints" / "action.txt"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LEFT_OUT = {"numpy", "scipy"}  # large, and no part of installing


def pinned() -> list[tuple[Requirement, list[str]]]:
    """Each pin of the lock with its hashes."""
    text = LOCK.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(Requirement(line.partition("--hash")[0].strip()), re.findall(r"--hash=(\S+)", line)) for line in lines]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_pinned_to_a_version_and_to_its_bytes() -> None:
    pins = pinned()
    assert len(pins) > 20
    for requirement, hashes in pins:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)
    assert "://" not in LOCK.read_text(encoding="utf-8"), "it names no index"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_are_what_the_project_asks_for_on_each_python(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": ""}
    chosen = {
        canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version)
        for pin, _ in pinned()
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    tree = project()
    wanted = [*tree["project"]["dependencies"], *tree["project"]["optional-dependencies"]["gate"]]
    wanted += tree["dependency-groups"]["build"]
    for text in wanted:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name in chosen, f"{name} is not pinned for Python {python}"
            assert requirement.specifier.contains(chosen[name]), f"{name} {chosen[name]} is not {requirement.specifier}"


def wheel(name: str, folder: Path) -> tuple[str, str]:
    """Put the installed files of a distribution into a wheel again; return its version and its hash."""
    found = metadata.distribution(name)
    tag = re.search(r"^Tag: (\S+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    assert tag is not None
    path = folder / f"{re.sub(r'[-.]+', '_', found.metadata['Name'])}-{found.version}-{tag[1]}.whl"
    files = [
        each for each in found.files or () if ".." not in each.parts and not each.name.endswith((".pyc", "RECORD"))
    ]
    kept = [each for each in files if each.name not in ("INSTALLER", "REQUESTED", "direct_url.json")]
    rows = io.StringIO()
    record = csv.writer(rows, lineterminator="\n")
    (info,) = {each.parts[0] for each in files if each.name == "METADATA" and each.parts[0].endswith(".dist-info")}
    with zipfile.ZipFile(path, "w") as archive:
        for each in kept:
            data = Path(str(found.locate_file(each))).read_bytes()
            archive.writestr(zipfile.ZipInfo(each.as_posix(), (2020, 1, 1, 0, 0, 0)), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.writerow((each.as_posix(), f"sha256={digest}", len(data)))
        record.writerow((f"{info}/RECORD", "", ""))
        archive.writestr(f"{info}/RECORD", rows.getvalue())
    return found.version, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def action(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the action with a lock of the packages that are installed here, and their wheels beside it."""
    root = tmp_path_factory.mktemp("checkout")
    wheels = root / "wheels"
    wheels.mkdir()
    lines = []
    for pin, _ in pinned():
        name = canonicalize_name(pin.name)
        if name in LEFT_OUT or (pin.marker is not None and not pin.marker.evaluate()):
            continue
        version, digest = wheel(name, wheels)
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
    (root / "constraints").mkdir()
    (root / "constraints" / "action.txt").write_text("".join(lines))
    for name in ("unitrack", "schemas", "actions"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    return root


def install(action: Path, temp: Path, *, python: str = "", path: str | None = None) -> tuple[int, str, dict[str, str]]:
    temp.mkdir(exist_ok=True)
    output = temp / "output"
    environ = {
        **os.environ, "ACTION_ROOT": str(action), "PYTHON": python, "RUNNER_TEMP": str(temp), "GITHUB_OUTPUT": str(output),
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(action / "wheels"), "PIP_CONFIG_FILE": os.devnull,
        "PATH": path or f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(ROOT / "actions" / "install.sh")],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = output.read_text().splitlines() if output.exists() else []
    return done.returncode, done.stdout + done.stderr, dict(line.split("=", 1) for line in lines)


def test_the_checkout_of_the_action_is_what_runs_in_an_environment_of_its_own(action: Path, tmp_path: Path) -> None:
    code, said, outputs = install(action, tmp_path / "temp")
    assert code == 0, said
    python = outputs["python"]
    assert Path(python).is_relative_to(tmp_path)
    where = subprocess.run(
        [python, "-P" if sys.version_info >= (3, 11) else "-I", "-c", "import unitrack; print(unitrack.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
    told = subprocess.run(
        [python, "-m", "unitrack", "ci", "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "report" in told.stdout
    code, said, again = install(action, tmp_path / "temp")
    assert (code, again["python"]) == (0, python)
    assert "Install unitrack" not in said, "a second step of the job finds it installed"


def test_a_package_with_other_bytes_is_not_installed(action: Path, tmp_path: Path) -> None:
    other = tmp_path / "checkout"
    shutil.copytree(action, other)
    (path,) = (other / "wheels").glob("pluggy-*.whl")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("pluggy/more.py", "print('hello')\n")
    code, said, outputs = install(other, tmp_path / "temp")
    assert code != 0
    assert "HASHES" in said or "hashes" in said
    assert outputs == {}


def test_a_given_python_is_taken_as_it_is_if_it_has_unitrack(action: Path, tmp_path: Path) -> None:
    code, said, outputs = install(action, tmp_path / "temp", python=sys.executable)
    assert (code, outputs["python"]) == (0, sys.executable), said
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    code, said, outputs = install(action, tmp_path / "temp2", python=str(bare))
    assert (code, outputs) == (2, {})
    assert "has no unitrack" in said


def test_a_python_that_is_too_old_is_told_with_the_remedy(action: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin"
    old.mkdir()
    (old / "python3").write_text("#!/bin/sh\nexit 1\n")
    (old / "python3").chmod(0o755)
    code, said, outputs = install(action, tmp_path / "temp", path=f"{old}{os.pathsep}{os.environ['PATH']}")
    assert (code, outputs) == (2, {})
    assert "actions/setup-python" in said
