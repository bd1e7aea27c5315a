"""The kit passes what is right and fails what is wrong, by the test whose name says so."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree
from collections import defaultdict
from pathlib import Path

import broken
import pytest

from unitrack.testing import BackendTests

SUITE = Path(__file__).with_name("kit_on_shelves.py")


@pytest.fixture(scope="module")
def outcomes(python_path, tmp_path_factory):
    """Return which tests ran and which failed, by fault."""
    report = tmp_path_factory.mktemp("report") / "junit.xml"
    command = [
        sys.executable, "-m", "pytest", str(SUITE), "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
        "--basetemp", str(report.parent / "tmp"), "--tb=line",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PYTHONPATH": python_path,
        "UNITRACK_TESTS_REQUIRE_ALL": "1",
    }  # the same examples each time
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    ran, failed = defaultdict(set), defaultdict(set)
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        fault = case.get("classname").rpartition(".Test_")[2]
        name = case.get("name").partition("[")[0]
        ran[fault].add(name)
        if len(case):
            failed[fault].add(name)
    return ran, failed


def test_a_correct_backend_passes_every_test(outcomes):
    ran, failed = outcomes
    assert ran["correct"] == {name for name in dir(BackendTests) if name.startswith("test_")}
    assert not failed["correct"]


@pytest.mark.parametrize("fault", broken.FAULTS)
def test_a_broken_backend_fails_the_test_that_says_what_is_wrong(outcomes, fault):
    _, failed = outcomes
    assert broken.CAUGHT_BY[fault] in failed[fault]


# What else fails on each of the six, beside tests of everything at once: nothing that has nothing to do with it.
ALL_AT_ONCE = {
    "test_a_replay_while_the_run_goes_on", "test_any_part_may_come_again", "test_what_was_acked_is_not_expected_again",
    "test_batches_of_one_and_of_a_thousand_give_the_same", "test_the_whole_run_again_leaves_one_of_everything",
    "test_whatever_differs_is_reported_by_kind_and_name",
}  # fmt: skip
ALSO = {
    "drops_nan": set(),
    "doubles_on_replay": {"test_a_run_is_one_run_however_often_it_is_sent", "test_a_child_names_its_parent"},
    "reorders": {
        "test_a_changed_param_has_its_last_value_or_is_told", "test_tags_are_added_and_removed",
        "test_an_artifact_that_is_logged_twice_has_its_last_bytes", "test_steps_that_repeat_go_back_or_are_missing",
    },
    "loses_the_tail_at_close": set(),
    "swallows_errors": set(),
    "mixes_runs": set(),
}  # fmt: skip


@pytest.mark.parametrize("fault", ALSO)
def test_no_test_fails_that_has_nothing_to_do_with_the_fault(outcomes, fault):
    _, failed = outcomes
    assert failed[fault] - ALL_AT_ONCE - {broken.CAUGHT_BY[fault]} == ALSO[fault]


def test_there_is_no_test_that_can_not_fail(outcomes):
    ran, failed = outcomes
    assert ran["correct"] == set().union(*failed.values())


def test_the_class_says_what_it_lacks_without_a_target(tmp_path):
    with pytest.raises(NotImplementedError, match="fixture `target`"):
        BackendTests.target.__wrapped__(BackendTests(), tmp_path)
