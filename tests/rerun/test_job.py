from __future__ import annotations

from typing import Any

import msgspec
import pytest

from unitrack.rerun.job import Job, fixed_environment

JOB = Job(
    commit="c" * 40,
    tree="t" * 40,
    folder=".",
    command=("python", "train.py", "--seed={seed}", "{seed}"),
    seed=3,
    inputs=(("data", "0" * 64),),
    environment=fixed_environment(3, {}),
    executor="process",
    fingerprint="CPython 3.11",
    timeout=60.0,
    project="digits",
)


def test_the_seed_stands_wherever_the_command_names_it() -> None:
    assert JOB.arguments == ("python", "train.py", "--seed=3", "3")


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "d" * 40},
        {"tree": "u" * 40},
        {"folder": "sub"},
        {"command": ("python", "other.py")},
        {"seed": 4},
        {"inputs": (("data", "1" * 64),)},
        {"environment": ()},
        {"executor": "container"},
        {"fingerprint": "CPython 3.12"},
        {"project": "other"},
    ],
)
def test_the_key_changes_with_whatever_the_result_depends_on(change: dict[str, Any]) -> None:
    assert msgspec.structs.replace(JOB, **change).key != JOB.key


def test_a_time_limit_changes_no_result_and_no_key() -> None:
    assert msgspec.structs.replace(JOB, timeout=1.0).key == JOB.key


def test_the_environment_is_fixed_unless_the_user_allows_more() -> None:
    fixed = dict(fixed_environment(2**32 + 5, {}))
    assert fixed["PYTHONHASHSEED"] == "5"
    assert fixed["OMP_NUM_THREADS"] == "1"
    assert dict(fixed_environment(0, {"OMP_NUM_THREADS": "8"}))["OMP_NUM_THREADS"] == "8"
