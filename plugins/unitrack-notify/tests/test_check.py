"""What `unitrack check` finds of the model in production reaches people."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import watched


@pytest.fixture
def project(tmp_path, monkeypatch, service):
    monkeypatch.chdir(tmp_path)
    watched.make_project(
        tmp_path, settings=f'{watched.SETTINGS}\n[backends.webhook]\nurl = "{service.url}"\nlevel = "warning"\n'
    )
    return tmp_path


def test_drift_is_a_warning_and_a_worse_model_an_error_and_fine_data_are_no_news(project, service):
    data = Path("data/fresh.csv")
    watched.write_data(data, seed=2)
    assert watched.check().exit_code == 0
    assert service.asked == []

    watched.write_data(data, seed=3, shift=0.5)
    assert watched.check().exit_code == 1
    told = service.json()
    assert (told["title"], told["level"]) == ("The data of clf:1 drift", "warning")
    assert told["text"].startswith("age: its values are distributed otherwise (ks ")
    assert "unitrack show" in told["text"]

    watched.write_data(data, seed=4, flip=0.15)
    assert watched.check().exit_code == 1
    told = service.json()
    assert (told["title"], told["level"]) == ("clf:1 is worse on fresh data", "error")
    assert told["text"].startswith("acc: It is worse on fresh data")
    assert len(service.asked) == 2


def test_a_service_that_is_gone_changes_no_result(project, service):
    service.answers = [(404, {}, "gone")]
    watched.write_data(Path("data/fresh.csv"), seed=3, shift=0.5)
    done = watched.check()
    assert done.exit_code == 1
    assert "webhook could not be told" in done.stderr
