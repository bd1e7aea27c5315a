"""The decorator of steps, and what goes onto a card. This module needs Metaflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from metaflow import current, user_step_decorator
from metaflow.cards import Markdown, Table

import unitrack
from unitrack.errors import RunExistsError
from unitrack.gate.verdict import read_verdict
from unitrack_metaflow._names import flow_run_id, task_run_id
from unitrack_metaflow._verdict import verdict_parts

__all__ = ["show_verdict", "tracked"]

_TAG = "unitrack:"
_PLAIN = (bool, int, float, str, type(None))


@user_step_decorator  # type: ignore[untyped-decorator] # Metaflow's own
def tracked(  # Metaflow calls it by these names
    step_name: str,
    flow: Any,
    inputs: Any = None,  # noqa: ARG001
    attributes: Any = None,  # noqa: ARG001
) -> Iterator[None]:
    """Give a step's task a unitrack run, open while the step runs and a child of the flow's.

    `unitrack.log(...)` in the step goes there. The artifact `unitrack_run` of the task, and a tag of Metaflow's run,
    name unitrack's runs; the capture `metaflow` names Metaflow's. A step that raises is a failed run of a failed flow.
    """
    parent = _flow_run(step_name)
    try:
        with unitrack.init(
            current.flow_name, id=task_run_id(current.pathspec, current.retry_count), name=step_name, parent=parent,
            group=parent, config=_parameters(flow),
        ) as run:  # fmt: skip
            run.capture("metaflow", _facts())
            flow.unitrack_run = run.id
            yield
    except BaseException as error:
        _end_flow(parent, "failed", f"step {step_name}: {type(error).__name__}: {error}")
        raise
    if step_name == "end":
        _end_flow(parent, "finished", None)


def _flow_run(step_name: str) -> str:
    """Begin the flow's run in its first step and tag Metaflow's with it; return its id."""
    parent = flow_run_id(current.pathspec)
    if step_name == "start" and not current.retry_count:
        with unitrack.init(current.flow_name, id=parent, name=current.run_id, group=parent) as run:
            run.capture("metaflow", {"pathspec": f"{current.flow_name}/{current.run_id}", "user": current.username})
        _tag(parent)
    return parent


def _tag(parent: str) -> None:
    from metaflow import Run, namespace

    namespace(None)
    Run(f"{current.flow_name}/{current.run_id}").add_tag(f"{_TAG}{parent}")


def _end_flow(parent: str, status: Any, reason: str | None) -> None:
    """Say how the flow ended; its run was opened and closed by another process, and is continued."""
    with suppress(RunExistsError):  # another step of a foreach is just saying so
        unitrack.init(current.flow_name, id=parent).finish(status, reason=reason)


def _parameters(flow: Any) -> dict[str, Any]:
    values = {name: getattr(flow, name) for name in current.parameter_names or ()}
    return {name: value if isinstance(value, _PLAIN) else repr(value) for name, value in values.items()}


def _facts() -> dict[str, Any]:
    return {
        "pathspec": current.pathspec,
        "step": current.step_name,
        "retry": current.retry_count,
        "origin_run": current.origin_run_id,
        "tags": sorted(current.tags),
    }


def show_verdict(path: str | Path) -> None:
    """Put the verdict of `unitrack gate` (its `verdict.json`) onto the card of this step, which has `@card`."""
    title, headers, rows, notes = verdict_parts(read_verdict(Path(path)))
    current.card.append(Markdown(title))
    current.card.append(Table([[Markdown(name), *rest] for name, *rest in rows], headers=headers))
    for note in notes:
        current.card.append(Markdown(note))
