"""`unitrack init`: make the current folder a project."""

from __future__ import annotations

import re
from pathlib import Path

import click

from unitrack.config import load_settings
from unitrack.errors import ConfigError, UsageError
from unitrack.journal.layout import create_store

__all__ = ["command", "settings_text"]

_FILE = "unitrack.toml"
_BACKEND = re.compile(r"[A-Za-z0-9_-]+")

_HEAD = """\
# The settings of this project. `unitrack doctor` shows which values hold and where they are from.
# Every key may be left out: a value behind a `#` is the default or an example.

project = {project}
# dir = ".unitrack"            # the store: runs, objects, registry
# mode = "online"              # online | offline | disabled
# dispatch = "auto"            # auto: a dispatcher beside training | external: one for the whole store
# patience = 900               # seconds after a run's end in which a tracker that is down is tried on
# durability = "background"    # when lines reach the disk: background | always | finish
# strict = false               # raise in training what would be a warning
# console = false              # keep what the process prints
# capture = ["git", "environment", "hardware", "container", "source", "seeds"]
# system_metrics = 15.0        # seconds between two samples of the machine's load; 0 for none
# registry = "local"           # where models are registered: the store's own, or a plugin's such as "mlflow"
# processors = []              # names of plugins' processors that see each event before it is written

# One section for each tracker that runs are sent to; `unitrack plugins` lists the backends there are.
# No credentials here: they come from the environment.
"""

_BACKEND_SECTION = """\
[backends.{name}]
# python = ".unitrack-envs/{name}/bin/python"    # its own environment: `unitrack backends setup {name}` makes it
"""

_TAIL = """\

# How to run the training again.
# [train]
# command = ["python", "train.py", "--seed", "{seed}"]
# seeds = [0, 1, 2, 3, 4]
# inputs = []                  # files and folders the training reads
# timeout = 3600               # seconds for one job
# env = []                     # variables that jobs may see
# jobs = 1                     # at a time; unless given as many containers as fit into this machine
# executor = "process"         # process | container, which needs a section [train.container]

# What a candidate must reach to replace the production model.
# [gate]
# model = "my-model"
# seeds = 5                    # at most
# baseline = "rerun"           # rerun: train it again, too | recorded: use the runs it was registered with
# missing_baseline = "block"   # without a production version: block | neutral
# broken_baseline = "block"    # when it no longer trains: block | neutral | recorded
# undecided = "neutral"        # neutral: let it in | block: keep it out
# history = 20                 # how much the noise of earlier gates counts, in degrees of freedom
# require = []                 # facts that runs must have recorded, such as "data.version"
# max_minutes = 60             # on the clock, for the trainings of one gate; then what is open stays undecided
# max_cost = 5.0               # the same in money
# price_per_hour = 0.5         # what an hour of one job costs
# [[gate.metrics]]
# name = "val/accuracy"
# goal = "maximize"            # maximize | minimize
# role = "target"              # target | guardrail | budget | report
# margin = 0.02                # how much worse is acceptable, in the metric's unit
# relative_margin = 0.01       # the same as a fraction of the baseline's mean
# summary = "last"             # last | min | max | best | mean | first

# How the model in production is watched: `unitrack check`.
# [check]
# command = ["python", "evaluate.py"]
# reference = "data/train.csv" # what it was trained on; unless given what its run logged
# fresh = "data/fresh.csv"     # unless given what the command logs
# ignore = ["id", "label"]     # columns that are no features
# threshold = 0.1              # the size from which a shown difference is drift
"""


@click.command()
@click.option("--project", metavar="NAME", help="What runs belong to; the folder's name unless given.")
@click.option("--backend", "backends", metavar="NAME", multiple=True, help="A tracker to send runs to; repeatable.")
def command(*, project: str | None, backends: tuple[str, ...]) -> None:
    """Write unitrack.toml into the current folder and create the store."""
    folder = Path.cwd()
    text = settings_text(project or folder.name or "default", backends)
    found = load_settings(folder).file
    if found is not None and found.parent == folder:
        raise ConfigError("the settings are here already; edit them there", file=str(found))
    _write_new(folder / _FILE, text)
    store = load_settings(folder).store
    create_store(store)
    click.echo(f"Wrote {_FILE} and created the store {store}")
    if found is not None:
        click.echo(f"From here on {_FILE} holds instead of {found}")
    click.echo(
        "Next:\n"
        "  1. in the training script: run = unitrack.init(config={...}); run.log({'loss': loss}); run.finish()\n"
        "  2. see what it logged:     unitrack runs\n"
        "  3. see what is set up:     unitrack doctor"
    )


def settings_text(project: str, backends: tuple[str, ...] = ()) -> str:
    """Return the commented settings file of a project. Raises UsageError for a name that can't stand in it."""
    if not project.isprintable():
        raise UsageError(f"a project's name has no control characters: {project!r:.80}")
    for name in backends:
        if not _BACKEND.fullmatch(name):
            raise UsageError(f"a backend's name has letters, digits, '-' and '_' only: {name!r:.80}")
    escaped = project.replace("\\", "\\\\").replace('"', '\\"')
    sections = [_BACKEND_SECTION.replace("{name}", name) for name in dict.fromkeys(backends)]
    example = "".join("# " + line + "\n" for line in _BACKEND_SECTION.replace("{name}", "NAME").splitlines()[:1])
    return _HEAD.replace("{project}", f'"{escaped}"') + ("\n".join(sections) or example) + _TAIL


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError("the file is there already; edit it or move it away", file=str(path)) from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}; choose a folder you may write to") from error
