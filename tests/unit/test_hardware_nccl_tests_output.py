"""What nccl-tests prints, by outputs that were published: `nccl_tests_outputs/README.md` says where."""

from dataclasses import astuple, dataclass
from pathlib import Path

import pytest

from fakerun.analysis.time.communication.call_costs import CallCosts
from fakerun.analysis.time.communication.call_shape import CallShape
from fakerun.analysis.time.communication.own_runs import own_runs_of
from fakerun.analysis.time.costs import Basis, CallCost
from fakerun.errors import UsageError
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.collective_times import CollectiveKind
from fakerun.hardware.nccl_tests_output import NcclTestsRun, check_device, is_nccl_tests_output, read_nccl_tests_output
from tests.unit.records_by_hand import GIB, MIB

OUTPUTS = Path(__file__).with_name("nccl_tests_outputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    kind: CollectiveKind
    ranks: int
    hosts: int | None
    device_name: str | None
    nccl_version: str | None
    sizes: int
    last: tuple[int, float]


EXPECTED = {
    "p4de_srun": Expected(
        kind=CollectiveKind.ALL_REDUCE, ranks=16, hosts=None, device_name=None, nccl_version=None, sizes=29, last=(2 * GIB, 51406e-6)
    ),
    "p5_srun": Expected(
        kind=CollectiveKind.ALL_REDUCE, ranks=16, hosts=None, device_name=None, nccl_version=None, sizes=32, last=(16 * GIB, 66132e-6)
    ),
    "p4d_mpirun_old": Expected(
        kind=CollectiveKind.ALL_REDUCE,
        ranks=16,
        hosts=2,
        device_name="A100-SXM4-40GB",
        nccl_version="2.9.9",
        sizes=30,
        last=(4 * GIB, 183834e-6),
    ),
    "oci_a100_listed_in_part": Expected(
        kind=CollectiveKind.ALL_REDUCE,
        ranks=16,
        hosts=2,
        device_name="NVIDIA A100-SXM4-40GB",
        nccl_version="2.29.3",
        sizes=3,
        last=(4 * GIB, 42721.7e-6),
    ),
    "a4x_max_two_domains": Expected(
        kind=CollectiveKind.ALL_GATHER,
        ranks=8,
        hosts=2,
        device_name="NVIDIA GB300",
        nccl_version=None,
        sizes=4,
        last=(16 * GIB, 42091.7e-6),
    ),
}


def read(name: str) -> tuple[NcclTestsRun, ...]:
    return read_nccl_tests_output((OUTPUTS / f"{name}.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_published(name: str) -> None:
    assert is_nccl_tests_output((OUTPUTS / f"{name}.txt").read_text(encoding="utf-8"))
    (run,) = read(name)
    expected = EXPECTED[name]
    assert (run.kind, run.ranks, run.hosts, run.device_name, run.nccl_version, len(run.points)) == astuple(expected)[:-1]
    assert run.points[-1] == pytest.approx(expected.last)


def test_runs_one_after_the_other_are_told_apart() -> None:
    first, second = read_nccl_tests_output("".join((OUTPUTS / f"{name}.txt").read_text() for name in ("p4de_srun", "p5_srun")))
    assert (first, second) == (*read("p4de_srun"), *read("p5_srun"))


TABLE = "  1048576     16384     float    none      -1    62.82   16.69   15.65    N/A    62.1   16.88   15.83    N/A\n"


def test_the_command_says_which_of_two_programs_it_was() -> None:
    (run,) = read_nccl_tests_output(f"$ mpirun -np 16 ./build/alltoall_perf -b 1M -e 1M\n{TABLE}")
    assert (run.kind, run.ranks) == (CollectiveKind.ALL_TO_ALL, 16)
    ((nbytes, seconds),) = run.points
    assert nbytes == MIB
    assert seconds == pytest.approx(62.82e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "no result of nccl-tests in it"),
        (
            TABLE,
            "which of nccl-tests' programs printed this cannot be told (all_gather_perf or alltoall_perf or gather_perf or scatter_perf",
        ),
        (TABLE.replace("16.69   15.65", "16.69   16.65"), "among how many devices nccl-tests ran cannot be told: keep the lines"),
        ("  8   2   float  sum  -1  68.52  0.00  0.00  0  24.70  0.00  0.00  0", "nccl-tests' rates are too low to tell"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        read_nccl_tests_output(text)
    assert str(error.value).startswith(message)


# As calibration.

A100 = hardware_named("a100-40gb")
TWO_NODES = tuple(range(16))


def costs(nbytes: int, members: tuple[int, ...] = TWO_NODES, *, may_multicast: bool = True) -> tuple[CallCost, CallCost]:
    """With the own run of two nodes of A100, and without."""
    shape = CallShape(kind=CollectiveKind.ALL_REDUCE, nbytes=nbytes, members=members, may_multicast=may_multicast)
    own = own_runs_of(read("oci_a100_listed_in_part"), A100, 8)
    return CallCosts(A100, 8, own=own).cost(shape), CallCosts(A100, 8).cost(shape)


def test_an_own_measurement_comes_first() -> None:
    own, _ = costs(GIB)
    assert own.basis is Basis.CALIBRATED
    assert own.seconds == pytest.approx(10908e-6)
    between, _ = costs(3 * GIB)
    assert between.basis is Basis.CALIBRATED
    assert 21500e-6 < between.seconds < 42721e-6


@pytest.mark.parametrize(("nbytes", "members"), [(64 * MIB, TWO_NODES), (GIB, tuple(range(32))), (32 * GIB, (*range(4), *range(8, 12)))])
def test_elsewhere_it_corrects_what_is_published(nbytes: int, members: tuple[int, ...]) -> None:
    own, published = costs(nbytes, members)
    at_own, at_published = costs(max(GIB, min(nbytes, 4 * GIB)))
    assert own.seconds / published.seconds == pytest.approx(at_own.seconds / at_published.seconds)
    assert own.basis is Basis.EXTRAPOLATED


def test_calls_inside_a_node_are_left_alone() -> None:
    own, published = costs(GIB, tuple(range(8)))
    assert own == published


def test_a_measurement_of_another_accelerator_is_refused() -> None:
    check_device(read("oci_a100_listed_in_part")[0], A100)
    check_device(read("p5_srun")[0], A100)
    with pytest.raises(UsageError) as error:
        check_device(read("oci_a100_listed_in_part")[0], hardware_named("h100-80gb"))
    assert str(error.value).startswith(
        "nccl-tests ran on 'NVIDIA A100-SXM4-40GB', and the job runs on 'NVIDIA H100 80GB HBM3' (h100-80gb): "
    )
