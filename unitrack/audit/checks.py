"""How each item is judged, from what runs recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from unitrack.events import Artifact, DatasetUsed

__all__ = ["CHECKS", "Finding", "State", "Surroundings", "View"]

State = Literal["satisfied", "missing", "not applicable"]
_SEED = re.compile(r"(?:^|[._])(?:random_)?(?:seed|state)$|(?:^|[._])(?:rng|data|numpy|torch|random)_seed$")
_TIMES = ("timestamp", "as_of", "date", "created", "modified")
_MOST = 3


class View(Protocol):
    """What is read of a run; a `RunView` is one."""

    @property
    def id(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def artifacts(self) -> Sequence[Artifact]: ...
    @property
    def datasets(self) -> Sequence[DatasetUsed]: ...
    @property
    def captures(self) -> Mapping[str, Mapping[str, Any]]: ...


class Finding(NamedTuple):
    """How an item stands, and what shows it."""

    state: State
    evidence: str


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit knows besides the run: other runs, and what the project asks for.

    `others` are runs of the same project, `children` those that name this run their parent, `production` is the run
    of the version in production, and None where there is none.
    """

    others: Sequence[Any] = ()
    children: Sequence[Any] = ()
    production: Any = None
    wants_predictions: bool = True
    notes: Mapping[str, str] = {}


def _found(evidence: str) -> Finding:
    return Finding("satisfied", evidence)


def _missing(evidence: str) -> Finding:
    return Finding("missing", evidence)


def _absent(evidence: str) -> Finding:
    return Finding("not applicable", evidence)


def _if(there: object, evidence: str, otherwise: str) -> Finding:
    return _found(evidence) if there else _missing(otherwise)


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MOST} more" if len(words) > _MOST else ""
    return ", ".join(words[:_MOST]) + more


# -- data ----------------------------------------------------------------------------------------


def _named(used: DatasetUsed) -> str:
    return f"{used.name} ({used.split})" if used.split else used.name


def _each_dataset(view: View, told: Callable[[DatasetUsed], str | None], lacking: str) -> Finding:
    """Judge by every dataset; `told` returns what shows one to be in order, or None."""
    if not view.datasets:
        return _missing("it logged no dataset: call run.log_dataset")
    words = [(used, told(used)) for used in view.datasets]
    bare = [_named(used) for used, word in words if word is None]
    evidence = "; ".join(f"{_named(used)} {word}" for used, word in words[:_MOST])
    return _missing(f"{lacking} {_listed(bare)}") if bare else _found(evidence)


def _version(view: View, _: Surroundings) -> Finding:
    return _each_dataset(view, lambda used: used.version or used.digest, "no digest and no version of")


def _snapshot(view: View, _: Surroundings) -> Finding:
    stored = {each.digest for each in view.artifacts if each.digest and each.uri is None}

    def told(used: DatasetUsed) -> str | None:
        if kept := used.metadata.get("kept"):
            return f"kept as artifact {kept}"
        if used.metadata.get("resolver") and used.version:
            return f"kept by {used.metadata['resolver']} as {used.version}"
        return f"kept as artifact {used.digest}" if used.digest in stored else None

    return _each_dataset(view, told, "no copy of")


def _timestamp(view: View, _: Surroundings) -> Finding:
    def told(used: DatasetUsed) -> str | None:
        return next((f"{name} {used.metadata[name]}" for name in _TIMES if used.metadata.get(name)), None)

    return _each_dataset(view, told, "no time of")


# -- features ------------------------------------------------------------------------------------


def _commit(view: View, _: Surroundings) -> Finding:
    commit = view.captures.get("git", {}).get("commit")
    return _if(commit, f"commit {commit}", "no commit was captured: train in a git repository, with git in `capture`")


def _clean(view: View, _: Surroundings) -> Finding:
    git = view.captures.get("git", {})
    dirty, untracked = git.get("dirty"), git.get("untracked") or 0
    others = f"; {untracked} untracked files are not kept" if untracked else ""
    if dirty is None:
        return _missing("it is not known whether all was committed")
    if not dirty:
        return _found(f"no uncommitted changes{others}")
    patch = git.get("patch") or {}
    kept = any(each.name.endswith("changes.patch") for each in view.artifacts if each.kind == "source")
    if patch.get("kept") and kept:
        return _found(f"uncommitted changes are kept as a patch, sha256 {patch.get('sha256')}{others}")
    return _missing(f"changes were not committed, and the patch is not kept{others}")


def _order(view: View, _: Surroundings) -> Finding:
    def told(used: DatasetUsed) -> str | None:
        names = [name for name, _ in used.columns or ()]
        return f"{len(names)} columns in order: {_listed(names)}" if names else None

    return _each_dataset(view, told, "no columns of")


def _deterministic(view: View, around: Surroundings) -> Finding:
    peers = [other for other in around.others if other.id != view.id and _same_code(view, other)]
    if not view.datasets:
        return _missing("it logged no dataset: call run.log_dataset")
    mine, compared = _contents(view), 0
    for other in peers:
        theirs = _contents(other)
        shared = mine.keys() & theirs.keys()
        changed = sorted(f"{name} ({split})" if split else name for name, split in shared
                         if mine[name, split] != theirs[name, split])  # fmt: skip
        if changed:
            return _missing(f"run {other.id} of the same code made other data: {_listed(changed)}")
        compared += bool(shared)
    return _if(
        compared,
        f"equal to those of {compared} other runs of the same code",
        "no other run of this code to compare with",
    )


def _same_code(view: View, other: View) -> bool:
    """Tell whether two runs are of one commit, or of one script where a commit isn't known."""
    (mine, script), (theirs, their_script) = _code(view), _code(other)
    return mine == theirs if mine and theirs else script is not None and script == their_script


def _code(view: View) -> tuple[str | None, str | None]:
    return view.captures.get("git", {}).get("commit"), view.captures.get("source", {}).get("sha256")


def _contents(view: View) -> dict[tuple[str, str | None], str]:
    words = {
        (used.name, used.split): used.metadata.get("kept") or used.digest or used.version for used in view.datasets
    }
    return {name: str(word) for name, word in words.items() if word}


# -- training ------------------------------------------------------------------------------------


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _seeds(view: View, _: Surroundings) -> Finding:
    named = [f"{name} = {value}" for name, value in _flat(view.params) if _SEED.search(name) and value is not None]
    return _if(named, _listed(named), "no parameter is a seed")


def _examples(view: View, _: Surroundings) -> Finding:
    states = view.captures.get("seeds", {}).get("generators") or {}
    counted = [f"{used.rows:,} rows of {_named(used)}" for used in view.datasets if used.rows is not None]
    if not counted:
        return _missing("no dataset has a known number of rows in their order")
    began = _listed([f"{name} {state}" for name, state in states.items()])
    return _if(states, f"{_listed(counted)}; generators began at {began}", "the generators' states were not captured")


def _params(view: View, _: Surroundings) -> Finding:
    return _if(view.params, f"{len(view.params)} parameters: {_listed(list(view.params))}", "no parameter was logged")


def _parts(view: View, around: Surroundings) -> Finding:
    used = [each for each in view.artifacts if each.use == "input" and each.kind == "model"]
    bare = [each.name for each in used if not each.digest]
    if bare:
        return _missing(f"no digest of {_listed(bare)}")
    named = [f"{each.name} {each.digest}" for each in used]
    named += [f"run {child.id}" for child in around.children if any(each.kind == "model" for each in child.artifacts)]
    return _found(_listed(named)) if named else _absent("it read no model and has no part that made one")


def _determinism(view: View, _: Surroundings) -> Finding:
    seeds = view.captures.get("seeds")
    if not seeds:
        return _missing("switches were not captured: put seeds into `capture`")
    lacking, told = [], []
    if str(seeds.get("hash_seed", "random")).isdigit():
        told.append(f"PYTHONHASHSEED={seeds['hash_seed']}")
    else:
        lacking.append("PYTHONHASHSEED is not set")
    torch = seeds.get("torch")
    if torch:
        told.append("torch.use_deterministic_algorithms")
        if not torch.get("deterministic_algorithms"):
            lacking.append("torch.use_deterministic_algorithms is off")
        if torch.get("cudnn_benchmark"):
            lacking.append("torch.backends.cudnn.benchmark is on")
    if "tensorflow" in seeds.get("frameworks", ()) and not _switched(seeds, "TF_DETERMINISTIC_OPS"):
        lacking.append("TF_DETERMINISTIC_OPS is not 1")
    threads = [f"{name}={value}" for name, value in (seeds.get("threads") or {}).items()]
    return _missing("; ".join(lacking)) if lacking else _found(", ".join([*told, *threads]))


def _switched(seeds: Mapping[str, Any], name: str) -> bool:
    return str((seeds.get("switches") or {}).get(name, "")).lower() in ("1", "true")


def _hardware(view: View, _: Surroundings) -> Finding:
    found = view.captures.get("hardware", {})
    words = [str(found["cpu"]), *map(str, found.get("gpus") or ())] if found.get("cpu") else []
    return _if(words, _listed(words), "no processor was captured: put hardware into `capture`")


def _artifact(kind: str) -> Callable[[View, Surroundings], Finding]:
    def check(view: View, around: Surroundings) -> Finding:
        made = [each for each in view.artifacts if each.kind == kind and each.use == "output" and each.digest]
        if not made and kind == "predictions" and not around.wants_predictions:
            return _absent("no metric of [gate] is judged example by example")
        return _if(made, _listed([f"{each.name} {each.digest}" for each in made]), f"it logged no {kind}")

    return check


# -- deployment ----------------------------------------------------------------------------------


def _environment(view: View) -> Mapping[str, Any]:
    return view.captures.get("environment", {})


def _packages(view: View, _: Surroundings) -> Finding:
    found = _environment(view).get("packages") or {}
    python = _environment(view).get("python")
    return _if(found, f"Python {python}, {len(found)} packages", "no packages: put environment into `capture`")


def _lock(view: View, _: Surroundings) -> Finding:
    locks = [f"{name} {digest}" for name, digest in (_environment(view).get("locks") or {}).items()]
    return _if(locks, _listed(locks), "there was no lock file (such as uv.lock) in the project's folder")


def _versions(view: View, around: Surroundings) -> Finding:
    if around.production is None:
        return _absent("no version is in production")
    if around.production.id == view.id:
        return _found("this run is the one in production")
    mine, theirs = _software(view), _software(around.production)
    if not mine or not theirs:
        return _missing(f"packages of this run or of run {around.production.id} in production are not known")
    names = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    changed = [f"{name} {theirs.get(name, 'none')} → {mine.get(name, 'none')}" for name in names]
    same = f"the same {len(mine)} versions as run {around.production.id} in production"
    return _if(not changed, same, f"production has other versions: {_listed(changed)}")


def _software(view: View) -> dict[str, str]:
    found = _environment(view)
    python = {"python": str(found["python"])} if found.get("python") else {}
    return {**python, **{str(name): str(version) for name, version in (found.get("packages") or {}).items()}}


def _image(view: View, _: Surroundings) -> Finding:
    found = view.captures.get("container", {})
    words = f"{found.get('image', 'image')} ({found.get('source', 'captured')})"
    digest = found.get("image_digest")
    if digest:
        return _found(words if str(digest) in words else f"{words}, {digest}")
    inside = f"in a container of {found['engine']} that does not know its image" if found.get("engine") else ""
    return _missing(f"it ran {inside or 'in no container that is known'}")


def _inputs(view: View, around: Surroundings) -> Finding:
    needed = _declared(view)
    if needed is None:
        return _missing("the model does not say which inputs it needs")
    served = None if around.production is None or around.production.id == view.id else _declared(around.production)
    if served is None:
        return _found(f"{len(needed)} inputs: {_listed(needed)}")
    lacking = [name for name in needed if name not in served]
    return _if(not lacking, f"all {len(needed)} inputs are those of production", f"production lacks {_listed(lacking)}")


def _declared(view: View) -> list[str] | None:
    """Return the inputs that the run's model says it needs."""
    models = [each for each in view.artifacts if each.kind == "model" and each.use == "output"]
    found = next((each.metadata["inputs"] for each in reversed(models) if each.metadata.get("inputs")), None)
    return [str(name) for name in found] if isinstance(found, (list, tuple, dict)) else None


CHECKS: dict[str, Callable[[View, Surroundings], Finding]] = {
    "data.snapshot": _snapshot,
    "data.version": _version,
    "data.timestamp": _timestamp,
    "code.commit": _commit,
    "code.clean": _clean,
    "features.deterministic": _deterministic,
    "features.order": _order,
    "seeds": _seeds,
    "training.order": _examples,
    "params": _params,
    "ensemble.parts": _parts,
    "training.determinism": _determinism,
    "hardware": _hardware,
    "model": _artifact("model"),
    "predictions": _artifact("predictions"),
    "environment.packages": _packages,
    "environment.lock": _lock,
    "deployment.versions": _versions,
    "environment.image": _image,
    "deployment.inputs": _inputs,
}
