"""A further interpreter finds what this one finds, and there is none where there is no Python to start."""

import json
import subprocess
import sys

import pytest

from unitrack.processes import python_command


def test_it_runs_a_module_with_its_arguments_and_the_path_of_this_process(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "told.py").write_text("import json, sys; print(json.dumps([__name__, sys.path, sys.argv]))")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    monkeypatch.setattr(sys, "path", [*sys.path, "a\nb", "", *(f"{n:0>1000}" for n in range(300)), tmp_path])
    done = subprocess.run(python_command("told", "a b", ""), capture_output=True, text=True, check=True)
    name, path, argv = json.loads(done.stdout)
    assert name == "__main__" and argv == [str(tmp_path / "here" / "told.py"), "a b", ""]
    assert path == sys.path[:-1]  # a Path is no name of a folder: imports pass over it, too


@pytest.mark.parametrize(("name", "value"), [("frozen", True), ("executable", None), ("executable", "")])
def test_without_a_python_it_refuses(monkeypatch, name, value):
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(OSError, match="Python"):
        python_command("unitrack")
