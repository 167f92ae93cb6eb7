"""The environment of one rank's process: what fakerun inherited, the job's own variables, the launcher's, a hash seed."""

import re
from collections.abc import Mapping
from pathlib import Path

from fakerun.job.spec import JobSpec
from fakerun.job.variable import value_of
from fakerun.launch.launcher_variables import launcher_defaults, launcher_variables

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
    """The rank's whole environment: what fakerun inherited, the job's own, and over both what the launcher sets."""
    node, local_rank = divmod(rank, job.nproc_per_node)
    numbers = {"rank": rank, "local_rank": local_rank, "node_rank": node, "world_size": job.world_size}
    own = {name: value_of(text, numbers) for name, text in job.env.items()}
    if job.alloc_conf is not None:
        own |= dict.fromkeys(("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"), job.alloc_conf)
    return {**launcher_defaults(job), **inherited, **own, **launcher_variables(job, rank, error_file=error_file)}


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
