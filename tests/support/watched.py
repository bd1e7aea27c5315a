"""A project with a real scikit-learn model in production, and fresh data to check it on with the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from tests.support.toy import git
from unitrack.cli import main
from unitrack.registry import LocalRegistry

__all__ = ["SETTINGS", "check", "make_project", "write_data"]

TRAIN = """\
import csv, pickle, sys
import numpy as np
from sklearn.linear_model import LogisticRegression
import unitrack

rows = list(csv.reader(open("data/train.csv")))[1:]
x = np.array([[float(cell) for cell in row[:3]] for row in rows])
y = np.array([int(row[4]) for row in rows])
model = LogisticRegression().fit(x[:2000], y[:2000])
pickle.dump(model, open("model.pkl", "wb"))
with unitrack.init(id="training", config={"seed": 0}) as run:
    run.log_dataset("data/train.csv", split="train")
    run.log({"acc": model.score(x[2000:], y[2000:])})
    run.log_predictions(
        list(range(2000, len(y))), y[2000:].tolist(), model.predict(x[2000:]).tolist(),
        model.predict_proba(x[2000:])[:, 1].tolist(), classes=[0, 1],
    )
    run.log_model("model.pkl")
"""
EVALUATE = """\
import csv, os, pickle
import numpy as np
import unitrack

model = pickle.load(open(os.environ["UNITRACK_EVALUATE_MODEL"], "rb"))
rows = list(csv.reader(open(os.environ["UNITRACK_EVALUATE_DATA"])))[1:]
x = np.array([[float(cell or 0) for cell in row[:3]] for row in rows])
y = np.array([int(row[4]) for row in rows])
with unitrack.init() as run:
    assert run.spec.parent and "monitoring" in run.spec.tags
    run.log({"acc": model.score(x, y)})
    run.log_predictions(
        list(range(len(y))), y.tolist(), model.predict(x).tolist(), model.predict_proba(x)[:, 1].tolist(),
        classes=[0, 1],
    )
"""
SETTINGS = """\
project = "watched"
capture = ["git"]

[gate]
model = "clf"

[[gate.metrics]]
name = "acc"
goal = "maximize"
margin = 0.05
examples = "accuracy"

[check]
command = ["python", "evaluate.py"]
fresh = "data/fresh.csv"
ignore = ["label"]
"""


def write_data(path: Path, *, seed: int, rows: int = 3000, shift: float = 0.0, flip: float = 0.0) -> None:
    """Write three numbers, a category and the label; `shift` moves `age`, `flip` turns a share of labels over."""
    draw = np.random.RandomState(seed)
    x = draw.normal(size=(rows, 3))
    label = (x[:, 0] + 0.5 * x[:, 1] + 0.5 * draw.normal(size=rows) > 0).astype(int)
    label = np.where(draw.uniform(size=rows) < flip, 1 - label, label)
    colours = draw.choice(["red", "green", "blue"], size=rows, p=[0.5, 0.3, 0.2])
    x[:, 2] += shift  # on which the model hardly relies
    lines = [f"{a:.6f},{b:.6f},{c:.6f},{colour},{y}" for (a, b, c), colour, y in zip(x, colours, label, strict=True)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("income,debt,age,colour,label\n" + "\n".join(lines) + "\n")


def make_project(root: Path, *, settings: str = SETTINGS) -> None:
    """Fill the current folder `root`, train a model there and put it into production."""
    for name, text in (("train.py", TRAIN), ("evaluate.py", EVALUATE), ("unitrack.toml", settings)):
        (root / name).write_text(text)
    (root / ".gitignore").write_text("data/\nmodel.pkl\n.unitrack/\n")
    write_data(root / "data/train.csv", seed=1, rows=4000)
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "Train")
    environment = {**os.environ, "UNITRACK_MODE": "offline"}
    subprocess.run([sys.executable, "train.py"], cwd=root, env=environment, check=True)
    registry = LocalRegistry(root / ".unitrack/registry", identity=lambda: "test")
    digest = _digest(root)
    registry.register("clf", run="training", artifact="model", digest=digest, commit=git("rev-parse", "HEAD"))
    registry.set_alias("clf", "staging", 1, reason="tried")
    registry.set_alias("clf", "production", 1, reason="good")


def _digest(root: Path) -> str | None:
    from unitrack.reader import get_run

    return next(one.digest for one in get_run("training", dir=root / ".unitrack").artifacts if one.name == "model")


def check(*arguments: str) -> Result:
    """Run `unitrack check`."""
    return CliRunner().invoke(main, ["check", *arguments], prog_name="unitrack")
