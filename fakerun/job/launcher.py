"""Launcher: what would start the job's processes, which decides the environment variables that they find."""

from enum import StrEnum

from fakerun.job.choice import choice_named


class Launcher(StrEnum):
    """The launchers."""

    TORCHRUN = "torchrun"
    SLURM = "slurm"
    """Slurm's `srun`."""
    MPI = "mpi"
    """`mpirun` or `mpiexec` of Open MPI, MPICH or MVAPICH2."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the names of the variables begin with that only this launcher sets."""
        return _PREFIXES[self]


_PREFIXES = {
    Launcher.TORCHRUN: ("TORCHELASTIC_",),
    Launcher.SLURM: ("SLURM_",),
    Launcher.MPI: ("OMPI_", "PMI_", "PMIX_", "MPI_LOCAL", "MV2_"),
}

DEFAULT_LAUNCHER = Launcher.TORCHRUN


def launcher_named(name: str) -> Launcher:
    """The launcher with this name.

    Raises:
        UsageError: the name is unknown.
    """
    return choice_named(Launcher, "launcher", name)
