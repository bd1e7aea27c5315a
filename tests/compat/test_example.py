"""The example of second names does what it says, and is the same script under W&B's own name."""

import shutil
import subprocess
import sys
from pathlib import Path

import unitrack

EXAMPLE = Path(__file__).parents[2] / "examples" / "compat" / "train.py"


def test_the_example_logs_a_run(tmp_path):
    shutil.copy(EXAMPLE, tmp_path)
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (view,) = unitrack.runs(dir=tmp_path / ".unitrack")
    assert view.status == "finished" and view.params == {"learning_rate": 0.3, "epochs": 20}
    assert list(view.series("loss").steps) == list(view.series("slope").steps) == list(range(20))
    assert view.metrics["loss"].goal == "minimize" and view.summary["equation"].startswith("y = ")
    assert [(media.name, media.kind, media.step) for media in view.media] == [("fit", "table", 20)]


def test_the_import_is_all_that_differs_from_a_script_for_wandb():
    assert EXAMPLE.read_text().count("unitrack.") == 1
