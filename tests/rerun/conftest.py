from __future__ import annotations

from collections.abc import Iterator

import pytest
from containers import ENGINES, Engine, Image, open_engine, open_registry, push_python_image


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with open_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="session")
def image(registry: str) -> Image:
    return push_python_image(registry)


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(request.param, tmp_path_factory.mktemp(request.param), registry) as opened:
        yield opened
