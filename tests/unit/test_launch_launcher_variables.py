"""Each launcher's variables: there for every rank, and no other launcher's."""

from pathlib import Path

import pytest

from fakerun.job.launcher import Launcher, launcher_named
from fakerun.job.spec import JobSpec
from fakerun.launch.environment import worker_environment
from tests.unit.records_by_hand import H100


def environment(launcher: Launcher, rank: int = 6, *, nnodes: int = 2, **inherited: str) -> dict[str, str]:
    job = JobSpec(script=Path("train.py"), hardware=H100, nnodes=nnodes, nproc_per_node=4, launcher=launcher)
    return worker_environment(job, rank, inherited=inherited, error_file=Path("/run/error.json"))


def test_slurm() -> None:
    assert environment(Launcher.SLURM) == {
        "SLURM_PROCID": "6",
        "SLURM_LOCALID": "2",
        "SLURM_NODEID": "1",
        "SLURM_GTIDS": "4,5,6,7",
        "SLURM_NTASKS": "8",
        "SLURM_NPROCS": "8",
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_NNODES": "2",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_TASKS_PER_NODE": "4(x2)",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_NODELIST": "node[0-1]",
        "SLURM_JOB_NODELIST": "node[0-1]",
        "SLURM_STEP_NODELIST": "node[0-1]",
        "SLURM_JOB_ID": "1",
        "SLURM_JOBID": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_STEPID": "0",
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "SLURM_SRUN_COMM_HOST": "127.0.0.1",
        "SLURMD_NODENAME": "node1",
        "SLURM_JOB_NAME": "python",
        "SLURM_DISTRIBUTION": "block",
    }


def test_slurm_on_one_node() -> None:
    one = environment(Launcher.SLURM, 2, nnodes=1)
    assert (one["SLURM_JOB_NODELIST"], one["SLURM_TASKS_PER_NODE"], one["SLURMD_NODENAME"]) == ("node0", "4", "node0")


def test_mpi() -> None:
    assert environment(Launcher.MPI) == {
        "OMPI_COMM_WORLD_RANK": "6",
        "OMPI_COMM_WORLD_SIZE": "8",
        "OMPI_COMM_WORLD_LOCAL_RANK": "2",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
        "OMPI_COMM_WORLD_NODE_RANK": "2",
        "OMPI_UNIVERSE_SIZE": "8",
        "PMIX_RANK": "6",
        "PMI_RANK": "6",
        "PMI_SIZE": "8",
        "MPI_LOCALRANKID": "2",
        "MPI_LOCALNRANKS": "4",
        "MV2_COMM_WORLD_RANK": "6",
        "MV2_COMM_WORLD_SIZE": "8",
        "MV2_COMM_WORLD_LOCAL_RANK": "2",
        "MV2_COMM_WORLD_LOCAL_SIZE": "4",
    }


@pytest.mark.parametrize("launcher", [Launcher.SLURM, Launcher.MPI])
def test_what_only_torchrun_sets_is_absent_or_the_users(launcher: Launcher) -> None:
    assert not environment(launcher).keys() & {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"}
    assert environment(launcher, RANK="3", SLURM_PROCID="9", PMI_RANK="9")["RANK"] == "3"


def test_a_launchers_variables_win_over_inherited_ones() -> None:
    assert environment(Launcher.SLURM, SLURM_PROCID="9")["SLURM_PROCID"] == "6"


def test_every_variable_is_known_as_its_launchers() -> None:
    for launcher in (Launcher.SLURM, Launcher.MPI):
        names = [name for name in environment(launcher) if name != "SLURMD_NODENAME"]
        assert all(name.startswith(launcher.prefixes) for name in names)


def test_an_unknown_launcher_is_refused() -> None:
    with pytest.raises(Exception, match=r"^unknown launcher 'slrum' \(did you mean 'slurm'\?\); known: torchrun, slurm, mpi$"):
        launcher_named("slrum")
