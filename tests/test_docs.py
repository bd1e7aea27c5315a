"""The documentation tells the truth."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from unitrack import config, hookspecs

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "plugins").glob("*/README.md")])


def test_every_commands_help_is_in_the_docs_to_the_letter():
    made = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["commands_page"]()
    assert (ROOT / "docs" / "commands.md").read_text() == made, "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_links_to_what_is_not_there(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_code_of_the_readme_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    listed = subprocess.run(
        [sys.executable, "-m", "unitrack", "runs"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "finished" in listed.stdout


def test_every_setting_is_on_its_page():
    page = (ROOT / "docs" / "configuration.md").read_text()
    sections = (config.Settings, config.BackendSettings, config.TrainSettings, config.GateSettings, config.MetricRule)
    keys = [name for section in sections for name in section.__struct_fields__]
    missing = [key for key in keys if f"`{key}`" not in page and key not in ("root", "file", "sources", "options")]
    assert not missing


def test_every_hook_is_on_its_page():
    page = (ROOT / "docs" / "plugins.md").read_text()
    hooks = [name for name in vars(hookspecs.HookSpecs) if name.startswith("unitrack_")]
    assert hooks and not [name for name in hooks if f"`{name}" not in page]
