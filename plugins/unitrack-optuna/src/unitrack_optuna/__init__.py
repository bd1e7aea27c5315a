"""Optuna for unitrack: a study is a run, each of its trials a child run."""

from unitrack_optuna._study import RUN, optimize

__all__ = ["RUN", "optimize"]
