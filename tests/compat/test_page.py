"""The page of second names says what the code does, and what it refuses is refused."""

import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from unitrack.compat import UnsupportedError

ROOT = Path(__file__).parents[2]
MODULES = ("wandb", "mlflow", "neptune", "neptune_scale")


def test_the_tables_are_those_of_the_code():
    made = runpy.run_path(str(ROOT / "docs" / "make_compat.py"))
    page = (ROOT / "docs" / "compat.md").read_text()
    assert page == made["page"](page), "run `python docs/make_compat.py`"


@pytest.mark.parametrize("name", MODULES)
def test_every_call_says_what_it_does(name):
    made = runpy.run_path(str(ROOT / "docs" / "make_compat.py"))
    rows = list(made["works"](name, importlib.import_module(f"unitrack.compat.{name}")))
    assert len(rows) > 10 and not [row for row in rows if row.endswith("|  |")]


@pytest.mark.parametrize("name", MODULES)
def test_what_is_refused_names_the_call_and_what_to_do(name):
    module = importlib.import_module(f"unitrack.compat.{name}")
    for word, remedy in module.UNSUPPORTED.items():
        with pytest.raises(UnsupportedError) as raised:
            getattr(module, word)
        assert f"{name}.{word}" in str(raised.value) and remedy in str(raised.value)
    with pytest.raises(UnsupportedError, match=rf"{name}\.no_such_thing.*docs/compat\.md"):
        getattr(module, "no_such_thing")  # noqa: B009 - an attribute as any other
    assert not hasattr(module, "no_such_thing")


@pytest.mark.parametrize("name", MODULES)
def test_no_client_is_imported(name):
    code = (
        f"import sys, unitrack.compat.{name}; "
        "print([m for m in ('wandb', 'mlflow', 'neptune', 'neptune_scale', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
