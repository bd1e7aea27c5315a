"""Where everything must run, a skip is a failure that says why; elsewhere it is a skip."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"
SKIPPING = """
import pytest

def test_that_skips():
    pytest.skip("no server here")

@pytest.mark.skip(reason="not on this system")
def test_marked():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known_to_fail():
    assert False

def test_that_runs():
    pass
"""
SKIPPING_WHOLE = """
import pytest

pytest.importorskip("no_such_package_at_all", reason="the client is not installed")
"""


@pytest.fixture
def suite(tmp_path):
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_some.py").write_text(SKIPPING)
    (tmp_path / "test_none.py").write_text(SKIPPING_WHOLE)
    return tmp_path


def outcome(folder):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "--continue-on-collection-errors",
        "-p",
        "no:cacheprovider",
        str(folder),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_skip_is_a_skip_and_named_on_a_machine_that_lacks_something(suite):
    done = outcome(suite)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped, 1 xfailed" in done.stdout
    assert "no server here" in done.stdout


def test_every_skip_is_a_failure_with_its_reason_where_all_must_run(suite, monkeypatch):
    monkeypatch.setenv("UNITRACK_TESTS_REQUIRE_ALL", "1")
    done = outcome(suite)
    assert done.returncode != 0
    for reason in ("no server here", "not on this system", "the client is not installed"):
        assert f"must run here (UNITRACK_TESTS_REQUIRE_ALL is set), but: Skipped: {reason}" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_a_test_sees_nothing_of_the_developers_surroundings(suite, monkeypatch):
    monkeypatch.setenv("UNITRACK_PROJECT", "mine")
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("RANK", "3")
    (suite / "test_some.py").write_text(
        "import os\n\ndef test_clean(tmp_path):\n"
        "    assert os.getcwd() == str(tmp_path)\n"
        "    assert not {'UNITRACK_PROJECT', 'SLURM_PROCID', 'RANK'} & set(os.environ)\n"
    )
    done = outcome(suite)
    assert done.returncode == 0, done.stdout
