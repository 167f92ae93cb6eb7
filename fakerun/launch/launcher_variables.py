"""The environment variables that each launcher gives a rank's process, from the job alone.

What launchers draw by chance (ports, ids of jobs) is fixed here: the same job gives the same environment.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from fakerun.job.launcher import Launcher
from fakerun.job.spec import JobSpec

MASTER_ADDR = "localhost"
MASTER_PORT = "29500"
"""torchrun's default for a static rendezvous. Nothing listens there: a simulated rank has no peers."""

_ADDRESS = "127.0.0.1"
_SLURM_JOB = "1"


def launcher_defaults(job: JobSpec) -> dict[str, str]:
    """What the launcher sets unless the user has set it."""
    if job.launcher is not Launcher.TORCHRUN:
        return {}
    threads = {"OMP_NUM_THREADS": "1"} if job.nproc_per_node > 1 else {}
    return {
        **threads,
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
    }


def launcher_variables(job: JobSpec, rank: int, *, error_file: Path) -> dict[str, str]:
    """What the launcher sets for the rank, whatever the user has set."""
    if job.launcher is Launcher.TORCHRUN:
        return {**_torchrun(job, rank), "TORCHELASTIC_ERROR_FILE": str(error_file)}
    return dict(_OTHERS[job.launcher](job, rank))


def _torchrun(job: JobSpec, rank: int) -> Mapping[str, str]:
    """torch/distributed/elastic/agent/server/local_elastic_agent.py and torch/distributed/run.py."""
    node, local_rank = divmod(rank, job.nproc_per_node)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local_rank),
        "GROUP_RANK": str(node),
        "ROLE_RANK": str(rank),
        "ROLE_NAME": "default",
        "WORLD_SIZE": str(job.world_size),
        "LOCAL_WORLD_SIZE": str(job.nproc_per_node),
        "GROUP_WORLD_SIZE": str(job.nnodes),
        "ROLE_WORLD_SIZE": str(job.world_size),
        "MASTER_ADDR": MASTER_ADDR,
        "MASTER_PORT": MASTER_PORT,
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _slurm(job: JobSpec, rank: int) -> Mapping[str, str]:
    """srun(1), "OUTPUT ENVIRONMENT VARIABLES", with tasks in blocks and a GPU for each. Numbers of CPUs are the cluster's: not set."""
    node, local_rank = divmod(rank, job.nproc_per_node)
    nodes = "node0" if job.nnodes == 1 else f"node[0-{job.nnodes - 1}]"
    tasks = str(job.nproc_per_node) if job.nnodes == 1 else f"{job.nproc_per_node}(x{job.nnodes})"
    on_node = range(node * job.nproc_per_node, (node + 1) * job.nproc_per_node)
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(local_rank),
        "SLURM_NODEID": str(node),
        "SLURM_GTIDS": ",".join(map(str, on_node)),
        **dict.fromkeys(("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_STEP_NUM_TASKS"), str(job.world_size)),
        **dict.fromkeys(("SLURM_NNODES", "SLURM_JOB_NUM_NODES", "SLURM_STEP_NUM_NODES"), str(job.nnodes)),
        **dict.fromkeys(("SLURM_NTASKS_PER_NODE", "SLURM_GPUS_ON_NODE"), str(job.nproc_per_node)),
        **dict.fromkeys(("SLURM_TASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE"), tasks),
        **dict.fromkeys(("SLURM_NODELIST", "SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST"), nodes),
        **dict.fromkeys(("SLURM_JOB_ID", "SLURM_JOBID"), _SLURM_JOB),
        **dict.fromkeys(("SLURM_STEP_ID", "SLURM_STEPID"), "0"),
        **dict.fromkeys(("SLURM_LAUNCH_NODE_IPADDR", "SLURM_SRUN_COMM_HOST"), _ADDRESS),
        "SLURMD_NODENAME": f"node{node}",
        "SLURM_JOB_NAME": "python",
        "SLURM_DISTRIBUTION": "block",
    }


def _mpi(job: JobSpec, rank: int) -> Mapping[str, str]:
    """Those of Open MPI (its documentation, "Environment variables set for MPI applications"), of MPICH's Hydra, and of MVAPICH2."""
    local_rank = rank % job.nproc_per_node
    numbers = {"RANK": rank, "SIZE": job.world_size, "LOCAL_RANK": local_rank, "LOCAL_SIZE": job.nproc_per_node}
    return {
        **{f"OMPI_COMM_WORLD_{name}": str(number) for name, number in numbers.items()},
        "OMPI_COMM_WORLD_NODE_RANK": str(local_rank),
        "OMPI_UNIVERSE_SIZE": str(job.world_size),
        "PMIX_RANK": str(rank),
        "PMI_RANK": str(rank),
        "PMI_SIZE": str(job.world_size),
        "MPI_LOCALRANKID": str(local_rank),
        "MPI_LOCALNRANKS": str(job.nproc_per_node),
        **{f"MV2_COMM_WORLD_{name}": str(number) for name, number in numbers.items()},
    }


_OTHERS: Mapping[Launcher, Callable[[JobSpec, int], Mapping[str, str]]] = {Launcher.SLURM: _slurm, Launcher.MPI: _mpi}
