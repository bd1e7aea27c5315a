"""The backend `shelf` as an installed plugin, for worker processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import unitrack

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def python_path(tmp_path_factory):
    """Return the PYTHONPATH with which processes find the plugin `shelf`."""
    site = tmp_path_factory.mktemp("site")
    about = site / "shelf-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[unitrack]\nshelf = shelf\n")
    return os.pathsep.join(map(str, (site, SUPPORT, Path(unitrack.__file__).parents[1])))
