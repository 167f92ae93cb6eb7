"""The environment of one rank's process: what torchrun's agent would set, from the job alone.

Names and values follow torch/distributed/elastic/agent/server/local_elastic_agent.py and torch/distributed/run.py. Values that torchrun
draws by chance (the port, the run id) are fixed here: the same job gives the same environment.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from fakerun.job.spec import JobSpec

MASTER_ADDR = "localhost"
MASTER_PORT = "29500"
"""torchrun's default for a static rendezvous. Nothing listens there: a simulated rank has no peers."""

HASH_SEED = "PYTHONHASHSEED"

_HASH_SEEDS = ("1", "2")
"""Any two."""

_READ_AT_LOAD = re.compile(
    r"PYTHON|LD_|MALLOC_|GLIBC_|LC_|LANG"  # the interpreter and the C library
    r"|OMP_|GOMP_|GOTO_|KMP_|MKL|OPENBLAS_|DNNL_|ONEDNN_|ACC_|NPY_|NUMPY_|SYMPY_|MPMATH_"  # libraries that torch loads
    r"|TORCH(?!ELASTIC_)|PYTORCH_|ATEN_|AOT|C10_|CUDA_|CUTLASS_|TRITON_|KINETO_|INDUCTOR_|PARTITIONER_|FX_|UNSAFE_SKIP_FSDP"  # torch
    r"|(?:HOME|PATH|TMPDIR|TMP|TEMP|USER|LOGNAME|LOGLEVEL|CI|CXX|FAKE_ALLOW_META)$"
)
"""Variables that are read while Python starts and torch is imported: those that getenv and os.environ are asked for meanwhile (torch 2.13),
by prefix where many have one. What torchrun sets for each rank is not among them."""


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


def with_hash_seed(environment: Mapping[str, str], rank: int) -> dict[str, str]:
    """The rank's environment with a seed for the hashes of its strings, unless the user has set one: it orders the rank's sets.

    Under torchrun every rank draws a seed of its own, and what depends on the order of a set differs between ranks. A seed must be set
    before Python starts, so each costs a fork server that imports torch; two show that ranks differ. Ranks whose numbers differ in one
    bit have different seeds: neighbours along every axis of a mesh whose sizes are powers of two. A seed depends on the rank alone:
    a rank does the same however many are simulated, and the fork servers can serve any number of jobs.
    """
    if environment.get(HASH_SEED, "") not in ("", "random"):
        return dict(environment)
    return {**environment, HASH_SEED: _HASH_SEEDS[rank.bit_count() % len(_HASH_SEEDS)]}


def is_read_at_load(name: str) -> bool:
    """Whether the variable can have an effect while Python starts and torch is imported."""
    return _READ_AT_LOAD.match(name) is not None


def load_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a rank that must be set before Python starts: ranks that agree in these can be forked from one process."""
    return {name: value for name, value in environment.items() if is_read_at_load(name)}
