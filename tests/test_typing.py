"""A user's code type-checks under mypy's strict rules, and wrong use is seen before it runs."""

import subprocess
import sys

import pytest

USER_CODE = """
from __future__ import annotations

from pathlib import Path

import unitrack


def train(folder: Path) -> str:
    with unitrack.init(project="digits", config={"lr": 0.1, "layers": [64, 64]}, tags=["baseline"]) as run:
        run.define_metric("val/accuracy", goal="maximize", summary="max")
        for step in range(3):
            run.log({"loss": 1 / (step + 1), "val": {"accuracy": 0.5}}, step=step)
            unitrack.log({"epoch": step})
        run.summary["best"] = 0.9
        run.set_tags("done", owner="me")
        digest: str | None = run.log_artifact(folder / "model.bin", name="model")
        run.alert("done", "it ended", level="info")
        return f"{run.id} {digest}"


def read() -> list[tuple[str, float | None]]:
    found: list[tuple[str, float | None]] = []
    for view in unitrack.runs(project="digits", status="finished"):
        losses = list(view.series("loss").values)
        found.append((view.id, losses[-1] if losses else view.ended))
    return found
"""


def check(folder, code):
    file = folder / "user.py"
    file.write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", str(file)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_code_as_users_write_it_passes_the_strict_checks(tmp_path):
    done = check(tmp_path, USER_CODE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ('unitrack.log("loss")', "arg-type"),
        ('unitrack.init(project="p").log({"loss": 1.0}, step="one")', "arg-type"),
        ('unitrack.init(project="p").define_metric("loss", goal="lower")', "arg-type"),
        ('unitrack.init(project="p").finish("done")', "arg-type"),
        ("unitrack.get_run(7)", "arg-type"),
    ],
)
def test_wrong_use_is_a_type_error(tmp_path, call, complaint):
    done = check(tmp_path, f"import unitrack\n{call}\n")
    assert complaint in done.stdout, done.stdout
