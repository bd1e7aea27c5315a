"""What holds for every test of the project: isolation from the machine, and when a skip is a failure.

With UNITRACK_TESTS_REQUIRE_ALL=1, as continuous integration runs, a skip is a failure that names its
reason: a part that can't be tested there must not look tested.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

REQUIRE_ALL = pytest.StashKey[bool]()

# What a developer's shell, a cluster or a CI system may set and the code under test reads.
FOREIGN = (
    "UNITRACK_", "SLURM_", "OMPI_", "PMI_", "PMIX_", "MLFLOW_", "WANDB_", "NEPTUNE_", "GITHUB_", "GITLAB_", "CI_",
)  # fmt: skip
FOREIGN_NAMES = {
    "CI", "RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK",
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "NO_COLOR", "FORCE_COLOR", "COLUMNS",
}  # fmt: skip
GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "Test", "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "Test", "GIT_COMMITTER_EMAIL": "test@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REQUIRE_ALL] = os.environ.get("UNITRACK_TESTS_REQUIRE_ALL", "") not in ("", "0")
    # No deadline: cores are shared, and a slow example is no wrong one.
    hypothesis.settings.register_profile(
        "unitrack", deadline=None, database=None, derandomize=config.stash[REQUIRE_ALL], print_blob=True
    )
    hypothesis.settings.load_profile("unitrack")


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, without what the surroundings set, with a git identity."""
    for name in list(os.environ):
        if name in FOREIGN_NAMES or name.startswith(FOREIGN):
            monkeypatch.delenv(name)
    for name, value in GIT_IDENTITY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.stash[REQUIRE_ALL] and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if collector.config.stash[REQUIRE_ALL] and report.skipped:
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} must run here (UNITRACK_TESTS_REQUIRE_ALL is set), but: {reason}"
