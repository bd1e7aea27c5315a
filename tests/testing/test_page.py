"""The page for those who prove a backend of their own tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from unitrack.testing import BackendTests

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_the_code_of_the_page_proves_the_example(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "test_conformance.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "not worker_is_killed",
        "test_conformance.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed, 1 deselected" in done.stdout


def test_every_test_of_the_kit_is_on_the_page():
    page = PAGE.read_text()
    tests = {name for name in dir(BackendTests) if name.startswith("test_")}
    assert tests == set(re.findall(r"^\| `(test_\w+)` \|", page, re.MULTILINE))
    for name in tests:
        assert " ".join(getattr(BackendTests, name).__doc__.split()) in page, name
