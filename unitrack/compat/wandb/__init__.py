"""W&B's module by its own names: `import unitrack.compat.wandb as wandb`. What it does is in docs/compat.md."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from unitrack.compat._support import Namespace, UnsupportedError, refusing
from unitrack.compat.wandb import _plot
from unitrack.compat.wandb._artifacts import Artifact
from unitrack.compat.wandb._config import Early
from unitrack.compat.wandb._data import Audio, Histogram, Html, Image, Plotly, Table, Video
from unitrack.compat.wandb._module import (
    AlertLevel,
    Settings,
    active,
    alert,
    define_metric,
    finish,
    generate_id,
    init,
    log,
    log_artifact,
    log_model,
    login,
    mark_preempting,
    require,
    save,
    setup,
    teardown,
    termerror,
    termlog,
    termwarn,
    unwatch,
    use_artifact,
    use_model,
    watch,
)
from unitrack.compat.wandb._run import Run
from unitrack.errors import UnitrackError
from unitrack.errors import UsageError as _UsageError

__all__ = [
    "AlertLevel", "Artifact", "Audio", "CommError", "Error", "Histogram", "Html", "Image", "Plotly", "Run",
    "Settings", "Table", "UsageError", "Video", "alert", "config", "data_types", "define_metric", "errors", "finish",
    "init", "join", "log", "log_artifact", "log_model", "login", "mark_preempting", "plot", "require", "run", "save",
    "setup", "summary", "teardown", "termerror", "termlog", "termwarn", "unwatch", "use_artifact", "use_model",
    "util", "watch",
]  # fmt: skip

Error = CommError = UnitrackError
UsageError = _UsageError
join = finish

_CHARTS = "log a wandb.Table with the values, or a matplotlib or plotly figure"
errors = Namespace(
    "wandb.errors", "catch wandb.Error", Error=UnitrackError, UsageError=_UsageError, CommError=UnitrackError,
    UnsupportedError=UnsupportedError, ConfigError=_UsageError,
)  # fmt: skip
data_types = Namespace(
    "wandb.data_types", "see docs/compat.md for the media there are", Audio=Audio, Histogram=Histogram, Html=Html,
    Image=Image, Plotly=Plotly, Table=Table, Video=Video,
)  # fmt: skip
util = Namespace("wandb.util", "it is internal to W&B", generate_id=generate_id)
plot = Namespace("wandb.plot", _CHARTS, **{name: getattr(_plot, name) for name in _plot.__all__ if name != "Chart"})

UNSUPPORTED = {
    "Api": "read runs with unitrack.runs() and unitrack.get_run(), see docs/logging.md",
    "Classes": "draw classes into the picture",
    "Graph": "log a figure of it",
    "JoinedTable": "join the rows into one wandb.Table",
    "Molecule": "keep its file with wandb.save or an artifact",
    "Object3D": "keep its file with wandb.save or an artifact",
    "agent": "start each trial as a run of its own, with group= for those that belong together",
    "controller": "start each trial as a run of its own, with group= for those that belong together",
    "link_artifact": "`unitrack models register` gives a logged model a version and aliases",
    "link_model": "`unitrack models register` gives a logged model a version and aliases",
    "log_code": "call it on the run: run.log_code()",
    "plot_table": _CHARTS,
    "plots": _CHARTS,
    "restore": "use_artifact().download(), or unitrack.Run.use_artifact",
    "sweep": "start each trial as a run of its own, with group= for those that belong together",
    "tensorboard": "`unitrack import tensorboard` reads event files",
    "keras": "log in a callback of your own, or through MLflow's autologging and set_tracking_uri('unitrack:')",
    "integration": "log in a callback of your own, or through MLflow's autologging and set_tracking_uri('unitrack:')",
    "wandb_run": "use wandb.run",
    "sdk": "it is internal to W&B",
    "apis": "read runs with unitrack.runs() and unitrack.get_run()",
}
_refused = refusing("wandb", UNSUPPORTED, "see docs/compat.md for what there is, or call unitrack's own")


def __getattr__(name: str) -> Any:
    current = active()
    if name == "__version__":  # code that asks how old the client is gets the one whose behaviour is followed
        return "0.31.0"
    if name == "run":
        return current
    if name in ("config", "summary"):
        return getattr(current, name) if current is not None else Early(name)
    return _refused(name)


class _Module(ModuleType):
    """Makes `wandb.config = {...}` do what is meant by it; in W&B such values are lost."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "config":
            self.config.update(value, allow_val_change=True)
        elif name == "summary":
            self.summary.update(value)
        elif name == "run":
            raise UnsupportedError("wandb.run can't be set: wandb.init() and wandb.finish() do")
        else:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Module
