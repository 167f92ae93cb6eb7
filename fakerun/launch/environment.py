"""The environment of one rank's process: what torchrun's agent would set, from the job alone.

Names and values follow torch/distributed/elastic/agent/server/local_elastic_agent.py and torch/distributed/run.py. Values that torchrun
draws by chance (the port, the run id) are fixed here: the same job gives the same environment.
"""

from collections.abc import Mapping
from pathlib import Path

from fakerun.job.spec import JobSpec

MASTER_ADDR = "localhost"
MASTER_PORT = "29500"
"""torchrun's default for a static rendezvous. Nothing listens there: a simulated rank has no peers."""


def worker_environment(job: JobSpec, rank: int, *, inherited: Mapping[str, str], error_file: Path) -> dict[str, str]:
    """The rank's whole environment: what fakerun inherited, the job's own, and over both what torchrun sets."""
    node, local_rank = divmod(rank, job.nproc_per_node)
    environment = {**inherited, **job.env}
    if job.nproc_per_node > 1:
        environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
    environment.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT")
    return environment | {
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
        "TORCHELASTIC_ERROR_FILE": str(error_file),
    }
