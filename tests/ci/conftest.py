from __future__ import annotations

from collections.abc import Iterator

import pytest
from github_fake import FakeGitHub
from github_workbench import Workbench


@pytest.fixture
def hub() -> Iterator[FakeGitHub]:
    with FakeGitHub() as hub:
        yield hub


@pytest.fixture
def bench(hub: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    return Workbench(hub, monkeypatch)
