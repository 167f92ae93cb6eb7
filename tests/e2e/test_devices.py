"""The device of each rank's memory, and ranks of one communicator on one device: through the command."""

import json
from typing import Any

import pytest

from tests.commands import REPOSITORY, fakerun

PROGRAMS = REPOSITORY / "tests" / "programs"
GIB = 2**30


def report_of(program: str, *options: str, expected: int) -> dict[str, Any]:
    result = fakerun(*options, "--format", "json", str(PROGRAMS / program))
    assert result.returncode == expected, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def findings(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["code"]: finding for finding in report["findings"] if finding["severity"] == "error"}


def on_devices(report: dict[str, Any]) -> dict[int, tuple[float, list[tuple[float, list[int]]]]]:
    """By CUDA index of the only node, GiB in all, and of which ranks how much of each."""
    return {
        device["cuda_index"]: (
            device["peak_allocated_bytes"] / GIB,
            [(each["peak_allocated_bytes"] / GIB, each["ranks"]) for each in device["contributions"]],
        )
        for device in report["devices"]
    }


@pytest.mark.parametrize("ranks", ["all", "auto"])
def test_ranks_that_set_no_device_share_the_first(ranks: str) -> None:
    report = report_of("forgot_set_device.py", "--nproc-per-node", "8", "--ranks", ranks, expected=1)
    found = findings(report)
    assert set(found) == {"duplicate-gpu", "does-not-fit"}
    assert all(finding["ranks"] == list(range(8)) for finding in found.values())
    assert found["duplicate-gpu"]["message"].startswith("Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 0. ")
    assert "cuda:0 of node 0 needs 385 GiB" in found["does-not-fit"]["message"]
    assert "48.1 GiB from each of ranks 0-7; h100-80gb has 79.2 GiB" in found["does-not-fit"]["message"]


def test_the_text_names_the_device_and_who_allocates_on_it() -> None:
    result = fakerun("--nproc-per-node", "8", "--ranks", "all", str(PROGRAMS / "forgot_set_device.py"))
    assert result.returncode == 1
    assert (
        "cuda:0 of node 0 DOES NOT FIT: needs at least 391 GiB, 312 GiB more than 79.2 GiB (h100-80gb); "
        "the sum of the ranks' peaks: 48.1 GiB from each of ranks 0-7"
    ) in " ".join(result.stdout.split())


def test_a_wrapper_that_communicates_first_gets_the_duplicate_finding() -> None:
    report = report_of("all_ranks_on_one_gpu.py", "--nproc-per-node", "4", "--ranks", "all", expected=1)
    found = findings(report)
    assert set(found) == {"duplicate-gpu"}
    assert found["duplicate-gpu"]["ranks"] == [0, 1, 2, 3]
    assert found["duplicate-gpu"]["call_site"]["path"].endswith("all_ranks_on_one_gpu.py")


def test_each_device_of_a_rank_fits_by_itself() -> None:
    report = report_of("two_devices.py", "--nproc-per-node", "2", expected=0)
    assert report["ranks"][0]["memory"]["devices"][1]["verdict"] == "fits"
    assert [round(gib) for gib, _ in on_devices(report).values()] == [50, 50]
    assert report["devices"][1]["ranks_not_counted"] == [1]


def test_the_text_has_a_verdict_for_each_device() -> None:
    result = fakerun(str(PROGRAMS / "two_devices.py"), "--nproc-per-node", "2")
    assert result.returncode == 0
    for index in (0, 1):
        assert f"cuda:{index} of node 0 fits: needs up to 50.8 GiB of 79.2 GiB" in result.stdout


def test_what_other_ranks_allocate_on_a_device_counts_there() -> None:
    report = report_of("memory_on_another_gpu.py", "--nproc-per-node", "4", "--ranks", "all", "--hardware", "a100-40gb", expected=1)
    assert on_devices(report) == {0: (60, [(24, [0]), (12, [1, 2, 3])])} | {index: (12, [(12, [index])]) for index in (1, 2, 3)}
    found = findings(report)
    assert set(found) == {"does-not-fit"}
    assert found["does-not-fit"]["message"].startswith(
        "cuda:0 of node 0 needs 60.0 GiB (the sum of the ranks' peaks): 24.0 GiB from rank 0, 12.0 GiB from each of ranks 1-3; "
    )
