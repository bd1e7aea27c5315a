"""The backend `shelf` as an installed plugin, for worker processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import unitrack

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return a folder in which the plugin `shelf` is installed, to be put on PYTHONPATH."""
    site = tmp_path_factory.mktemp("site")
    for name in ("shelf", "broken", "shelf_target"):
        shutil.copy(HERE / f"{name}.py", site)
    about = site / "shelf-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[unitrack]\nshelf = shelf\n")
    return os.pathsep.join([str(site), str(Path(unitrack.__file__).parents[1])])
