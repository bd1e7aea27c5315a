"""Capture what makes training repeat itself: seeds, the states of generators, switches, threads.

    {"hash_seed": "0", "hash_randomization": false, "generators": {"random": "<16 hex>", "numpy": "<16 hex>"},
     "torch": {"initial_seed": 7, "deterministic_algorithms": true, "cudnn_benchmark": false, "threads": 8},
     "threads": {"OMP_NUM_THREADS": "1"}}

It is taken in training's own process, where alone this can be seen: at the start, and at the end, when
switches are as training left them. Only packages that training has imported are asked. A generator's
state is told as a digest: it shows whether two runs began alike, not by which seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

__all__ = ["THREADS", "seeds_at_end", "seeds_at_start"]

THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS",
)  # fmt: skip
_SWITCHES = (
    "CUBLAS_WORKSPACE_CONFIG", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC", "NVIDIA_TF32_OVERRIDE", "XLA_FLAGS",
)  # fmt: skip
_MOST_POOLS = 20
Ask = Callable[[], Any]


def seeds_at_start(modules: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what is settled when the run begins, in well under a millisecond."""
    facts: dict[str, Any] = {
        "hash_seed": environ.get("PYTHONHASHSEED"),
        "hash_randomization": bool(sys.flags.hash_randomization),
        "generators": _generators(modules),
        "threads": {name: environ[name] for name in THREADS if environ.get(name)},
        "switches": {name: environ[name][:200] for name in _SWITCHES if environ.get(name)},
    }
    return {name: value for name, value in facts.items() if value not in (None, {})}


def seeds_at_end(modules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the switches of frameworks as training left them."""
    found = {"torch": _torch(modules.get("torch")), "jax": _jax(modules.get("jax")), "pools": _pools(modules)}
    loaded = [name for name in ("tensorflow", "torch", "jax", "lightgbm", "xgboost", "sklearn") if name in modules]
    return {**{name: value for name, value in found.items() if value}, **({"frameworks": loaded} if loaded else {})}


def _generators(modules: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    with suppress(Exception):  # what isn't loaded, or was replaced
        found["random"] = _digest(repr(modules["random"].getstate()).encode())
    with suppress(Exception):
        kind, keys, position = modules["numpy.random"].get_state()[:3]
        found["numpy"] = _digest(f"{kind} {position} ".encode() + keys.tobytes())
    with suppress(Exception):
        found["torch"] = _digest(modules["torch"].get_rng_state().numpy().tobytes())
    return found


def _digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()[:16]


def _torch(torch: Any) -> dict[str, Any]:
    if torch is None:
        return {}
    return _asked(
        initial_seed=lambda: int(torch.initial_seed()),
        deterministic_algorithms=lambda: bool(torch.are_deterministic_algorithms_enabled()),
        cudnn_deterministic=lambda: bool(torch.backends.cudnn.deterministic),
        cudnn_benchmark=lambda: bool(torch.backends.cudnn.benchmark),
        tf32=lambda: bool(torch.backends.cuda.matmul.allow_tf32),
        matmul_precision=lambda: str(torch.get_float32_matmul_precision()),
        threads=lambda: int(torch.get_num_threads()),
        interop_threads=lambda: int(torch.get_num_interop_threads()),
        cuda=lambda: torch.version.cuda and str(torch.version.cuda),
        cudnn=lambda: torch.backends.cudnn.version() if torch.version.cuda else None,
    )


def _jax(jax: Any) -> dict[str, Any]:
    if jax is None:
        return {}
    return _asked(
        x64=lambda: bool(jax.config.jax_enable_x64),
        generator=lambda: str(jax.config.jax_default_prng_impl),
        matmul_precision=lambda: jax.config.jax_default_matmul_precision,
    )


def _pools(modules: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the thread pools of BLAS and OpenMP, if training has loaded threadpoolctl, as scikit-learn does."""
    with suppress(Exception):
        names = ("internal_api", "version", "num_threads", "architecture")
        pools = modules["threadpoolctl"].threadpool_info()[:_MOST_POOLS]
        return [{name: pool[name] for name in names if pool.get(name) is not None} for pool in pools]
    return []


def _asked(**questions: Ask) -> dict[str, Any]:
    """Return the answers to what can be asked; a version of a package may lack some."""
    found: dict[str, Any] = {}
    for name, ask in questions.items():
        with suppress(Exception):
            answer = ask()
            if answer is not None:
                found[name] = answer
    return found
