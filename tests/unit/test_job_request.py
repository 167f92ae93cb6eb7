"""From the sources of a job to the JobSpec: sizes, defaults, precedence of sources."""

from pathlib import Path
from typing import Any

import pytest

from fakerun.errors import UsageError
from fakerun.hardware.calibration import Calibration
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.collective_times import CollectiveKind
from fakerun.hardware.nccl_tests_output import NcclTestsRun
from fakerun.job.codec import decode_job, encode_job
from fakerun.job.mesh import parse_mesh
from fakerun.job.ranks import ALL_RANKS, AUTO_RANKS, RankChoice, parse_ranks
from fakerun.job.request import JobRequest, check_module, check_script

SCRIPT = Path("train.py")


def request(**parts: Any) -> JobRequest:
    if "mesh" in parts:
        parts["mesh"] = parse_mesh(parts["mesh"])
    return JobRequest(script=SCRIPT, **parts)


@pytest.mark.parametrize(
    ("parts", "nnodes", "nproc_per_node"),
    [
        ({"world_size": 8}, 1, 8),
        ({"world_size": 5}, 1, 5),
        ({"world_size": 64}, 8, 8),
        ({"world_size": 12}, 2, 6),
        ({"world_size": 13}, 13, 1),
        ({"world_size": 16, "nnodes": 4}, 4, 4),
        ({"world_size": 16, "nproc_per_node": 4}, 4, 4),
        ({"world_size": 16, "nnodes": 4, "nproc_per_node": 4}, 4, 4),
        ({"nnodes": 2}, 2, 1),
        ({"nproc_per_node": 8}, 1, 8),
        ({"nnodes": 2, "nproc_per_node": 8, "mesh": "2x8"}, 2, 8),
        ({"mesh": "4x4"}, 2, 8),
        ({"mesh": "4x4", "nnodes": 4}, 4, 4),
        ({"mesh": "4x4", "nproc_per_node": 4}, 4, 4),
        ({"world_size": 8, "mesh": "2x4"}, 1, 8),
    ],
)
def test_world(parts: dict[str, Any], nnodes: int, nproc_per_node: int) -> None:
    job = request(**parts).resolve()
    assert (job.nnodes, job.nproc_per_node) == (nnodes, nproc_per_node)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {},
            "the number of ranks is unknown; pass --world-size N, or --nnodes N --nproc-per-node N, or --mesh (in a job file: world_size)",
        ),
        ({"world_size": 0}, "world size 0: must be at least 1"),
        ({"nnodes": 0, "world_size": 8}, "number of nodes 0: must be at least 1"),
        ({"nproc_per_node": -1}, "number of processes per node -1: must be at least 1"),
        ({"world_size": 2**20 + 1}, "1048577 ranks: too many; at most 1048576 can be simulated"),
        (
            {"world_size": 2**20, "ranks": AUTO_RANKS},
            "ranks auto: at most 131072 ranks can be judged together, and these are 1048576; "
            "simulate some of them by number, as in --ranks 0,4-7",
        ),
        (
            {"world_size": 2**20, "ranks": parse_ranks("7,10-200000")},
            "ranks 7,10-200000: at most 131072 ranks can be judged together, and these are 199992; "
            "simulate some of them by number, as in --ranks 0,4-7",
        ),
        ({"world_size": 8, "samples": -1}, "samples -1: must be at least 0"),
        ({"world_size": 8, "seed": -5}, "seed -5: must be at least 0"),
        ({"world_size": 8, "nnodes": 3}, "8 ranks cannot be spread evenly over 3 nodes; change one of the numbers"),
        ({"world_size": 8, "nproc_per_node": 3}, "8 ranks do not fill nodes of 3 processes; change one of the numbers"),
        (
            {"world_size": 8, "nnodes": 2, "nproc_per_node": 2},
            "2 nodes x 2 processes per node = 4 ranks, but the world size is 8; change one of them",
        ),
        (
            {"world_size": 8, "mesh": "3x3"},
            "mesh 3x3 (dp 3, tp 3) has 9 ranks, but the world size is 8; change one of them",
        ),
        (
            {"nnodes": 2, "nproc_per_node": 8, "mesh": "2x4"},
            "mesh 2x4 (dp 2, tp 4) has 8 ranks, but the world size is 16; change one of them",
        ),
        ({"world_size": 8, "ranks": RankChoice.of([8])}, "rank 8 does not exist: a world size of 8 has ranks 0 to 7"),
        ({"world_size": 8, "ranks": RankChoice.of([-1])}, "rank -1 does not exist: a world size of 8 has ranks 0 to 7"),
        ({"world_size": 8, "steps": 0}, "steps 0: must be at least 1, or all"),
        ({"world_size": 8, "routing": "skewed"}, "unknown routing 'skewed'; known: balanced, worst"),
        ({"world_size": 8, "timeout_s": 0.0}, "timeout 0 s: must be a finite number above 0"),
        ({"world_size": 8, "timeout_s": float("nan")}, "timeout nan s: must be a finite number above 0"),
    ],
)
def test_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        request(**parts).resolve()
    assert str(error.value) == message


def test_defaults() -> None:
    job = request(world_size=8).resolve()
    assert (job.steps, job.ranks, job.hardware.name, job.mesh, job.timeout_s, job.routing) == (2, (0,), "h100-80gb", None, None, "balanced")


@pytest.mark.parametrize(
    ("above", "below", "merged"),
    [
        ({"steps": 3}, {"steps": 5, "ranks": ALL_RANKS}, {"steps": 3, "ranks": ALL_RANKS}),
        (
            {"args": ("b",), "env": {"X": "2"}},
            {"args": ("a",), "env": {"X": "1", "Y": "1"}},
            {"args": ("a", "b"), "env": {"X": "2", "Y": "1"}},
        ),
        ({"world_size": 4}, {"nnodes": 2, "nproc_per_node": 8}, {"world_size": 4}),
        ({"nnodes": 4}, {"nnodes": 2, "nproc_per_node": 8, "world_size": 16}, {"nnodes": 4, "nproc_per_node": 8}),
        ({"nnodes": 4}, {"world_size": 16}, {"nnodes": 4, "world_size": 16}),
        ({"nnodes": 1, "nproc_per_node": 4}, {"world_size": 16}, {"nnodes": 1, "nproc_per_node": 4}),
    ],
)
def test_one_source_over_another(above: dict[str, Any], below: dict[str, Any], merged: dict[str, Any]) -> None:
    assert JobRequest(**above).over(JobRequest(**below)) == JobRequest(**merged)


def test_runs_of_nccl_tests_on_another_accelerator() -> None:
    def calibrated(hardware: str) -> JobRequest:
        return request(world_size=8, hardware=hardware_named(hardware), calibration=Calibration(collectives=(run,)))

    run = NcclTestsRun(
        kind=CollectiveKind.ALL_REDUCE, ranks=8, hosts=1, device_name="NVIDIA H200", nccl_version="2.26.2", points=((1024, 1.5e-5),)
    )
    job = calibrated("h200").resolve()
    assert decode_job(encode_job(job)) == job
    with pytest.raises(UsageError, match="nccl-tests ran on 'NVIDIA H200', and the job runs on 'NVIDIA H100 80GB HBM3'"):
        calibrated("h100-80gb").resolve()


def test_scripts(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    with pytest.raises(UsageError, match=r"no such script: .*train\.py"):
        check_script(script)
    script.touch()
    check_script(script)
    with pytest.raises(UsageError, match="is a directory; pass the script in it, or -m for a package"):
        check_script(tmp_path)


def test_modules(tmp_path: Path) -> None:
    check_module("package.train")
    with pytest.raises(UsageError, match=r"'a-b\.c' is not a module name; write it as in package\.module"):
        check_module("a-b.c")
    script = tmp_path / "train.py"
    script.touch()
    with pytest.raises(UsageError, match="is a file, not a module; drop -m"):
        check_module(str(script))
