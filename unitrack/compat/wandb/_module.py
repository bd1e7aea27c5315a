"""The functions of W&B's module: they act on the run that `init` made."""

from __future__ import annotations

import enum
import functools
import os
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from unitrack.compat._support import Warned, begin, given, refuse
from unitrack.compat.wandb._run import Run
from unitrack.errors import UsageError

__all__ = [
    "AlertLevel", "Settings", "active", "alert", "define_metric", "finish", "generate_id", "init", "log",
    "log_artifact", "log_model", "login", "mark_preempting", "require", "save", "setup", "teardown", "termerror",
    "termlog", "termwarn", "unwatch", "use_artifact", "use_model", "watch",
]  # fmt: skip

_REINIT = {True: "finish_previous", False: "return_previous", None: "return_previous", "default": "return_previous"}
_MODES = {"online": "online", "offline": "offline", "dryrun": "offline", "run": "online", "disabled": "disabled"}


class AlertLevel(enum.Enum):
    """How much an alert matters."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Settings:
    """What W&B is told about itself; unitrack's settings are in `unitrack.toml`."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class _Current:
    """The run that the module's functions act on, as `wandb.run`."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.warned = Warned()


_current = _Current()


def active() -> Run | None:
    """Return the run that is open, or None."""
    if _current.run is not None and _current.run.finished:
        _current.run = None
    return _current.run


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: str | os.PathLike[str] | None = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Iterable[str] | None = None,
    config: Any = None,
    config_exclude_keys: Iterable[str] | None = None,
    config_include_keys: Iterable[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: Any = None,
    resume: Any = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Any = None,
    anonymous: Any = None,
) -> Run:
    """Begin a run and make it `wandb.run`. A run that is open is returned unless `reinit` says otherwise."""
    _refuse(resume_from=resume_from, fork_from=fork_from, tensorboard=tensorboard or sync_tensorboard, gym=monitor_gym)
    _current.warned.ignored("wandb.init", {"settings": settings, "force": force, "save_code": save_code or None})
    values, way = _chosen(config, config_include_keys, config_exclude_keys), _mode(mode)
    reinit = _REINIT.get(reinit, reinit)
    if reinit not in ("finish_previous", "return_previous", "create_new"):
        raise UsageError(f"reinit is finish_previous, return_previous or create_new, not {reinit!r}")
    previous = active()
    if previous is not None and reinit == "return_previous":
        _current.warned.say(
            f"wandb.init(): run {previous.id} is open and is returned; finish() it first, or pass "
            "reinit='finish_previous' or 'create_new'"
        )
        return previous
    if previous is not None and reinit == "finish_previous":
        previous.finish()
    environment = os.environ.get
    about = {
        "entity": entity or environment("WANDB_ENTITY"), "job_type": job_type or environment("WANDB_JOB_TYPE"),
        "notes": notes or environment("WANDB_NOTES"),
    }  # fmt: skip
    run = _begin(
        about, way, id=id or environment("WANDB_RUN_ID"), project=project or environment("WANDB_PROJECT"),
        name=name or environment("WANDB_NAME"), group=group or environment("WANDB_RUN_GROUP"),
        tags=_words(tags, environment("WANDB_TAGS")), resume=resume or environment("WANDB_RESUME"),
        dir=dir or environment("WANDB_DIR"),
    )  # fmt: skip
    if values:
        run.config.update(values, allow_val_change=True)
    if reinit != "create_new" or previous is None:
        _current.run = run
    return run


def _begin(about: Mapping[str, str | None], mode: str | None, **options: Any) -> Run:
    resume = {True: "auto", "True": "auto"}.get(options["resume"], options["resume"]) or None
    if options["dir"] is not None:
        options["dir"] = os.path.join(options["dir"], ".unitrack")
    run = begin(**{**given(**options), **given(mode=mode), "resume": resume})
    told = {key: value for key, value in about.items() if value}
    if told:
        run.set_tags(**told)
    return Run(run, about, disabled=not run._keeps)


def _mode(asked: str | None) -> str | None:
    """Return unitrack's mode for W&B's, or for what its variables say."""
    word = asked or os.environ.get("WANDB_MODE") or ("disabled" if os.environ.get("WANDB_DISABLED") == "true" else None)
    if word is not None and word not in _MODES:
        raise refuse(f"wandb.init(mode={word!r})", "use online, offline or disabled")
    return None if word is None else _MODES[word]


def _refuse(**asked: Any) -> None:
    remedies = {
        "resume_from": "continue a run with id= and resume='allow'",
        "fork_from": "begin a new run and name the old one in its config",
        "tensorboard": "`unitrack import tensorboard` reads event files",
        "gym": "log videos with wandb.Video(path)",
    }
    for name, value in asked.items():
        if value:
            raise refuse(f"wandb.init({name}=...)", remedies[name])


def _words(tags: Iterable[str] | None, surroundings: str | None) -> list[str] | None:
    if tags is None:
        return [word for word in surroundings.split(",") if word] if surroundings else None
    return [tags] if isinstance(tags, str) else list(tags)


def _chosen(config: Any, include: Iterable[str] | None, exclude: Iterable[str] | None) -> dict[str, Any]:
    """Return the config that was given, less what isn't wanted."""
    if config is None:
        return {}
    if isinstance(config, (str, os.PathLike)):
        raise refuse("wandb.init(config=PATH)", "read the file and pass a dict")
    from unitrack._run_data import _mapping

    values = _mapping(config)
    wanted, unwanted = list(include or values), set(exclude or ())
    return {key: value for key, value in values.items() if key in wanted and key not in unwanted}


def generate_id(length: int = 8) -> str:
    """Make a short id."""
    return "".join(random.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(length))


# -- on the open run -----------------------------------------------------------------------------


def _on_open(name: str) -> Callable[..., Any]:
    """Return the run's method `name` as a function of the module."""

    @functools.wraps(getattr(Run, name))
    def call(*args: Any, **options: Any) -> Any:
        run = active()
        if run is None:
            raise UsageError(f"call wandb.init() before wandb.{name}()")
        return getattr(run, name)(*args, **options)

    return call


alert = _on_open("alert")
define_metric = _on_open("define_metric")
log = _on_open("log")
log_artifact = _on_open("log_artifact")
log_model = _on_open("log_model")
mark_preempting = _on_open("mark_preempting")
save = _on_open("save")
unwatch = _on_open("unwatch")
use_artifact = _on_open("use_artifact")
use_model = _on_open("use_model")
watch = _on_open("watch")


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the open run, if there is one."""
    run = active()
    if run is not None:
        run.finish(exit_code, quiet)


# -- words ---------------------------------------------------------------------------------------


def login(*_args: Any, **_options: Any) -> bool:
    """Do nothing and say yes: no account is needed, and a key that is passed is not looked at."""
    return True


def require(requirement: Any = None, experiment: Any = None) -> None:
    """Do nothing: W&B's own experiments have no part in this."""


def setup(settings: Any = None) -> None:
    """Do nothing: there is nothing to start."""


def teardown(exit_code: int | None = None) -> None:
    """End the open run."""
    finish(exit_code)


def termlog(string: str = "", *_args: Any, **_options: Any) -> None:
    """Print a line to the terminal."""
    print(f"wandb: {string}", file=sys.stderr)  # noqa: T201 - what the call is for


termwarn = termerror = termlog
