"""Which process of a distributed job this is, as the launchers say it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

__all__ = ["Launch", "read_launch"]

# (rank, world size) as set by torchrun, Slurm's srun, and Open MPI's mpirun
_VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)
_LOCAL = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A process's rank among `world` processes, a name of the job that all share, its rank on its own machine."""

    rank: int | None = None
    world: int | None = None
    job: str | None = None
    local_rank: int | None = None

    @property
    def distributed(self) -> bool:
        """There is more than one process."""
        return self.rank is not None and (self.world or 1) > 1


def read_launch(environment: Mapping[str, str]) -> Launch:
    """Read rank, world size and job from a launcher's variables; a rank that is no number counts as unset."""
    for rank_name, world_name in _VARIABLES:
        rank, world = _whole(environment.get(rank_name)), _whole(environment.get(world_name))
        if rank is not None:
            local = next((found for name in _LOCAL if (found := _whole(environment.get(name))) is not None), None)
            return Launch(rank=rank, world=world, job=_job(environment, world), local_rank=local)
    return Launch()


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() else None


def _job(environment: Mapping[str, str], world: int | None) -> str | None:
    if slurm := environment.get("SLURM_JOB_ID"):
        return f"slurm-{slurm}-{environment.get('SLURM_STEP_ID', '0')}"
    elastic = environment.get("TORCHELASTIC_RUN_ID", "none")
    if elastic != "none":
        return f"torch-{elastic}"
    if namespace := environment.get("PMIX_NAMESPACE"):
        return f"mpi-{namespace}"
    if world is not None and _whole(environment.get("LOCAL_WORLD_SIZE")) == world:
        # All ranks are children of one launcher on this machine.
        return f"local-{os.getppid()}-{environment.get('MASTER_PORT', '0')}"
    return None
