"""The environment of a rank is torchrun's."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from fakerun.job.spec import JobSpec
from fakerun.launch.environment import load_environment, with_hash_seed, worker_environment
from tests.unit.records_by_hand import H100


def _environment(
    rank: int, *, nnodes: int = 2, nproc: int = 4, inherited: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
) -> dict[str, str]:
    job = JobSpec(script=Path("train.py"), hardware=H100, nnodes=nnodes, nproc_per_node=nproc, env=env or {})
    return worker_environment(job, rank, inherited=inherited or {}, error_file=Path("/run/error.json"))


def test_the_sixth_rank_of_two_nodes_with_four() -> None:
    assert _environment(6) == {
        "RANK": "6",
        "LOCAL_RANK": "2",
        "GROUP_RANK": "1",
        "ROLE_RANK": "6",
        "ROLE_NAME": "default",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
        "GROUP_WORLD_SIZE": "2",
        "ROLE_WORLD_SIZE": "8",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        "TORCHELASTIC_ERROR_FILE": "/run/error.json",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.parametrize(
    ("rank", "expected"),
    [(0, ("0", "0")), (3, ("3", "0")), (4, ("0", "1")), (7, ("3", "1"))],
)
def test_local_and_group_rank_follow_the_node(rank: int, expected: tuple[str, str]) -> None:
    environment = _environment(rank)
    assert (environment["LOCAL_RANK"], environment["GROUP_RANK"]) == expected


def test_what_the_user_has_set_is_kept_where_torchrun_keeps_it() -> None:
    inherited = {"OMP_NUM_THREADS": "8", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0", "CUDA_VISIBLE_DEVICES": "2,3", "HOME": "/home/me"}
    environment = _environment(0, inherited=inherited)
    assert {name: environment[name] for name in inherited} == inherited


def test_the_jobs_own_variables_win_over_inherited_ones_but_not_over_torchruns() -> None:
    environment = _environment(1, inherited={"A": "1", "RANK": "9"}, env={"A": "2", "OMP_NUM_THREADS": "4", "WORLD_SIZE": "99"})
    assert (environment["A"], environment["OMP_NUM_THREADS"], environment["RANK"], environment["WORLD_SIZE"]) == ("2", "4", "1", "8")


def test_a_single_process_keeps_all_its_threads() -> None:
    assert "OMP_NUM_THREADS" not in _environment(0, nnodes=1, nproc=1)


def test_the_ranks_of_a_job_agree_in_what_is_read_at_load() -> None:
    inherited = {"HOME": "/home/me", "PATH": "/bin", "MY_OPTION": "1"}
    environments = [_environment(rank, inherited=inherited, env={"PYTHONPATH": "src", "EPOCHS": "3"}) for rank in range(8)]
    assert {frozenset(load_environment(environment).items()) for environment in environments} == {
        frozenset(
            {
                "HOME": "/home/me",
                "PATH": "/bin",
                "PYTHONPATH": "src",
                "OMP_NUM_THREADS": "1",
                "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
            }.items()
        )
    }


@pytest.mark.parametrize(
    "name",
    [
        "PYTHONHASHSEED",
        "LD_PRELOAD",
        "LANG",
        "LC_ALL",
        "OMP_NUM_THREADS",
        "MKL_DEBUG_CPU_TYPE",
        "TORCH_LOGS",
        "TORCHINDUCTOR_CACHE_DIR",
        "CI",
    ],
)
def test_what_is_read_at_load(name: str) -> None:
    assert load_environment({name: "1"}) == {name: "1"}


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "NCCL_DEBUG", "CITY", "HOMEPAGE", "MY_PYTHONPATH"])
def test_what_is_not_read_at_load(name: str) -> None:
    assert load_environment({name: "1"}) == {}


def test_ranks_that_differ_in_one_bit_have_different_hash_seeds() -> None:
    seeds = [with_hash_seed({}, rank)["PYTHONHASHSEED"] for rank in range(64)]
    assert all(seeds[rank] != seeds[rank ^ 1 << bit] for rank in range(64) for bit in range(6))
    assert len(set(seeds)) == 2


@pytest.mark.parametrize(("given", "is_kept"), [("5", True), ("0", True), ("", False), ("random", False)])
def test_a_hash_seed_of_the_users_is_kept(given: str, is_kept: bool) -> None:
    seeds = {with_hash_seed({"PYTHONHASHSEED": given}, rank)["PYTHONHASHSEED"] for rank in range(4)}
    assert (seeds == {given}) == is_kept
    assert (len(seeds) == 1) == is_kept
