"""`unitrack check`: a real model of a real registry, measured on fresh data by a real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import watched
from unitrack.reader import get_run, runs


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watched.make_project(tmp_path)
    return tmp_path


def test_fresh_data_of_the_same_kind_are_fine(project):
    watched.write_data(project / "data/fresh.csv", seed=2)
    done = watched.check()
    print(done.output)
    assert done.exit_code == 0, done.output
