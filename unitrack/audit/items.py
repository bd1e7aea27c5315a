"""The one list of what a run can be asked for, by the audit and by `[gate].require`."""

from __future__ import annotations

from typing import Literal

import msgspec

from unitrack.config import RequiredFact

__all__ = ["ITEMS", "PHASES", "STEPS", "Item", "PhaseName", "StepItem"]

PhaseName = Literal["data", "features", "training", "deployment"]

PHASES: dict[PhaseName, str] = {
    "data": "Data collection",
    "features": "Feature engineering",
    "training": "Training",
    "deployment": "Deployment",
}


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One question of the audit, and the line of code or configuration that would satisfy it."""

    name: RequiredFact
    phase: PhaseName
    title: str
    remedy: str


class StepItem(msgspec.Struct, frozen=True, kw_only=True):
    """One step of CRISP-DM; its name is the key of a note in `[audit.notes]`."""

    name: str
    title: str


def _item(name: RequiredFact, phase: PhaseName, title: str, remedy: str) -> Item:
    return Item(name=name, phase=phase, title=title, remedy=remedy)


_CAPTURE = 'capture = ["git", "environment", "hardware", "container", "source", "seeds"]  # unitrack.toml'

ITEMS: tuple[Item, ...] = (
    _item("data.snapshot", "data", "The data itself is kept", "run.log_dataset(path, keep=True)"),
    _item("data.version", "data", "Its version is named", 'run.log_dataset(path)  # or version="..."'),
    _item(
        "data.timestamp", "data", "It is known of which time it is",
        'run.log_dataset(frame, metadata={"timestamp": "2026-01-31"})',
    ),
    _item("code.commit", "features", "The code is under version control", f"git commit; {_CAPTURE}"),
    _item("code.clean", "features", "Nothing ran that isn't kept", "git commit -a  # before training"),
    _item(
        "features.deterministic", "features", "The same code made the same features twice",
        "train again at this commit: unitrack rerun",
    ),
    _item(
        "features.order", "features", "Features have names, types and an order",
        "run.log_dataset(frame)  # or columns=[...] for an array",
    ),
    _item("seeds", "training", "The seed is a parameter", 'unitrack.init(config={"seed": seed})'),
    _item("training.order", "training", "The order of examples is fixed", f"run.log_dataset(frame); {_CAPTURE}"),
    _item("params", "training", "Hyperparameters are recorded", "unitrack.init(config=vars(arguments))"),
    _item("ensemble.parts", "training", "Each part of an ensemble is named", 'run.use_model("part@production")'),
    _item(
        "training.determinism", "training", "Switches that make results repeat are set",
        "PYTHONHASHSEED=0 python train.py  # and torch.use_deterministic_algorithms(True)",
    ),
    _item("hardware", "training", "The machine is known", _CAPTURE),
    _item("model", "training", "The model's bytes are kept", "run.log_model(path)"),
    _item(
        "predictions", "training", "What the model says of each example is kept",
        "run.log_predictions(ids, y_true, y_pred)",
    ),
    _item("environment.packages", "deployment", "Versions of packages are known", _CAPTURE),
    _item("environment.lock", "deployment", "A lock file pins them", "uv lock  # and commit uv.lock"),
    _item(
        "deployment.versions", "deployment", "Versions match those of production",
        "install from production's lock file, or promote with a verdict made under the new one",
    ),
    _item(
        "environment.image", "deployment", "The container is named by digest",
        'image = "name@sha256:..."  # [train.container]; elsewhere docker run -e UNITRACK_IMAGE=name@sha256:...',
    ),
    _item(
        "deployment.inputs", "deployment", "The inputs it needs are there in production",
        'run.log_model(path, metadata={"inputs": columns})',
    ),
)  # fmt: skip

STEPS: tuple[StepItem, ...] = (
    StepItem(name="business_understanding", title="Business understanding"),
    StepItem(name="data_understanding", title="Data understanding"),
    StepItem(name="data_preparation", title="Data preparation"),
    StepItem(name="modeling", title="Modeling"),
    StepItem(name="evaluation", title="Evaluation"),
    StepItem(name="deployment", title="Deployment"),
)
