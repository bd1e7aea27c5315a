"""`mlflow.exceptions`: what this module raises is caught under MLflow's name too."""

from unitrack.errors import UnitrackError

__all__ = ["MlflowException"]

MlflowException = UnitrackError
