"""Second names for unitrack: code written for W&B, MLflow or Neptune logs through unitrack after one changed import.

    import unitrack.compat.wandb as wandb
    import unitrack.compat.mlflow as mlflow
    import unitrack.compat.neptune as neptune
    from unitrack.compat.neptune_scale import Run

No tracker's client is imported. What a module can't do raises `UnsupportedError`, which says what to do instead;
what it can leave out without losing what was logged is one `UnitrackWarning`.
"""

from unitrack.compat._support import UnsupportedError

__all__ = ["UnsupportedError"]
