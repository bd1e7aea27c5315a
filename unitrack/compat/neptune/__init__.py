"""Neptune 1.x by its own names: `import unitrack.compat.neptune as neptune`. What it does is in docs/compat.md."""

from __future__ import annotations

from unitrack.compat._support import Namespace, refusing
from unitrack.compat.neptune import types, utils
from unitrack.compat.neptune._init import init_run
from unitrack.compat.neptune._run import Handler, Run
from unitrack.compat.neptune.types import File
from unitrack.errors import UnitrackError

__all__ = ["ANONYMOUS_API_TOKEN", "File", "Handler", "Run", "exceptions", "init", "init_run", "types", "utils"]

ANONYMOUS_API_TOKEN = ""
init = init_run
exceptions = Namespace(
    "neptune.exceptions", "catch neptune.exceptions.NeptuneException", NeptuneException=UnitrackError
)

_REGISTRY = "`unitrack models register` gives a logged model a version"
_READ = "read runs back with unitrack.runs() and unitrack.get_run(id)"
UNSUPPORTED = {
    "init_model": _REGISTRY,
    "init_model_version": _REGISTRY,
    "init_project": _READ,
    "Model": _REGISTRY,
    "ModelVersion": _REGISTRY,
    "Project": _READ,
    "get_project": _READ,
    "management": "projects are made by logging into them",
    "integrations": "log in a callback of your own, or through MLflow's autologging and set_tracking_uri('unitrack:')",
    "create_experiment": "that is Neptune's API before 1.0: use init_run",
    "log_metric": "that is Neptune's API before 1.0: use run['name'].append(value)",
    "set_property": "that is Neptune's API before 1.0: use run['name'] = value",
}
__getattr__ = refusing("neptune", UNSUPPORTED, "see docs/compat.md for what there is, or call unitrack's own")
