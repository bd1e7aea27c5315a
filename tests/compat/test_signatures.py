"""The second names take what the real calls take, in the same places."""

import inspect
import warnings

import pytest

import unitrack.compat.mlflow as our_mlflow
import unitrack.compat.neptune as our_neptune
import unitrack.compat.neptune_scale as our_scale
import unitrack.compat.wandb as our_wandb

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the clients' own
    import mlflow
    import neptune
    import neptune.handler
    import neptune.types
    import neptune_scale
    import neptune_scale.types
    import wandb


def pairs():
    """Yield (name, their call, our call) for all that both have."""
    yield from ((f"wandb.{name}", getattr(wandb, name), getattr(our_wandb, name)) for name in (
        "init", "finish", "Artifact", "Image", "Table", "Histogram", "Video", "Audio", "Html", "Plotly",
    ))  # fmt: skip
    yield from both("wandb.Run", wandb.Run, our_wandb.Run)
    yield from both("wandb.Artifact", wandb.Artifact, our_wandb.Artifact)
    yield from both("mlflow", mlflow, our_mlflow, our_mlflow.__all__)
    yield from both("MlflowClient", mlflow.MlflowClient, our_mlflow.MlflowClient)
    yield "neptune.init_run", neptune.init_run, our_neptune.init_run
    yield from both("neptune.Run", neptune.Run, our_neptune.Run)
    yield from both("Handler", neptune.handler.Handler, our_neptune.Handler)
    yield from both("neptune.File", neptune.types.File, our_neptune.File)
    yield "neptune_scale.Run", neptune_scale.Run, our_scale.Run
    yield from both("neptune_scale.Run", neptune_scale.Run, our_scale.Run)
    yield "neptune_scale.File", neptune_scale.types.File, our_scale.File
    yield "neptune_scale.Histogram", neptune_scale.types.Histogram, our_scale.Histogram


def both(prefix, theirs, ours, names=None):
    for name in names or vars(ours):
        their, our = getattr(theirs, name, None), getattr(ours, name)
        if not name.startswith("_") and inspect.isroutine(our) and callable(their):
            yield f"{prefix}.{name}", their, our


@pytest.mark.parametrize(("theirs", "ours"), [pytest.param(t, o, id=name) for name, t, o in pairs()])
def test_a_call_takes_the_same_arguments_in_the_same_places(theirs, ours):
    given = inspect.signature(theirs).parameters
    taken = inspect.signature(ours).parameters
    kinds = {each.kind for each in taken.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        named = [name for name, each in given.items() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
        assert not [name for name in named if name not in taken]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        places = places_of(given)
        assert places == places_of(taken)[: len(places)]


def places_of(parameters):
    return [name for name, each in parameters.items() if each.kind == each.POSITIONAL_OR_KEYWORD]


def test_there_is_much_to_compare():
    assert len(list(pairs())) > 100
