"""The verdict against the hardware, for each device of each node."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fakerun.analysis.memory.devices import PhysicalDevice, physical_devices
from fakerun.analysis.memory.fit import Verdict, contributions, device_fit, fit_findings, need_fit
from fakerun.analysis.memory.footprint import MemoryFootprint, footprint_of
from fakerun.analysis.memory.need import DeviceNeed
from fakerun.analysis.memory.outside import OutsideMemory
from fakerun.analysis.memory.reserved import ReservedMemory
from fakerun.device_memory.kernels.gaps import not_included
from fakerun.records.device_program import Operation
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from tests.unit.records_by_hand import GIB, H100, MIB, block, need, site, timeline

SMALL = replace(H100, name="small", usable_bytes=8 * GIB)


def footprint(*gib: float) -> MemoryFootprint:
    categories = (Category.ACTIVATION, Category.PARAMETER, Category.GRADIENT, Category.INPUT)
    blocks = [
        block(round(size * GIB), category, shape=(4, 8192), dtype="bfloat16", call_site=site(f"model.py:{line}"))
        for line, (size, category) in enumerate(zip(gib, categories, strict=False), start=10)
    ]
    return footprint_of(timeline(blocks, range(len(blocks))))


def on(devices: Mapping[int, Mapping[int, float]], ranks_per_node: int = 4) -> tuple[PhysicalDevice, ...]:
    """The devices of nodes whose ranks allocate so many GiB on each CUDA index."""
    return physical_devices(
        {
            rank: {ordinal: need(footprint(gib), SMALL.usable_bytes) for ordinal, gib in enumerate(each.values())}
            for rank, each in devices.items()
        },
        {rank: tuple(each) for rank, each in devices.items()},
        ranks_per_node=ranks_per_node,
    )


def test_fits_with_headroom() -> None:
    fit = need_fit(need(footprint(5, 1.5)), SMALL)
    assert fit.fits
    assert fit.headroom_bytes == 3 * GIB // 2
    assert fit_findings(on({0: {0: 6.5}}), SMALL) == ()


def test_exactly_full_fits() -> None:
    assert need_fit(need(footprint(8)), SMALL).fits
    assert fit_findings(on({0: {0: 8}, 1: {1: 8}}), SMALL) == ()


def test_nothing_to_fit() -> None:
    assert fit_findings(on({0: {0: 0}}), SMALL) == ()
    assert fit_findings((), SMALL) == ()


def test_too_large_says_by_how_much_and_what_is_largest() -> None:
    devices = physical_devices({3: {0: need(footprint(6, 3, 1, 0.5), SMALL.usable_bytes)}}, {3: (3,)}, ranks_per_node=4)
    assert fit_findings(devices, SMALL) == (
        Finding(
            code=FindingCode.DOES_NOT_FIT,
            message="peak reserved 10.5 GiB on rank 3 is 2.50 GiB over the 8.00 GiB that small has",
            ranks=(3,),
            call_site=site("model.py:13"),
            hint=(
                "largest at the peak: activation 6.00 GiB, parameter 3.00 GiB, gradient 1.00 GiB; "
                "the largest tensors are 1 x bfloat16[4,8192] (activation, 6.00 GiB) from model.py:10"
            ),
        ),
    )


def test_several_ranks_too_large_are_one_finding_about_the_worst() -> None:
    (finding,) = fit_findings(on({0: {0: 9}, 1: {1: 12}, 2: {2: 1}, 3: {3: 9}}), SMALL)
    assert finding.ranks == (0, 1, 3)
    assert finding.message == "peak reserved 12.0 GiB on rank 1 is 4.00 GiB over the 8.00 GiB that small has; also over on ranks 0,3"


def test_each_device_of_a_rank_has_a_verdict_of_its_own() -> None:
    assert fit_findings(on({0: {0: 7, 1: 7}}), SMALL) == ()
    (finding,) = fit_findings(on({0: {0: 7, 1: 9}}), SMALL)
    assert finding.message == "peak reserved 9.00 GiB on rank 0 on cuda:1 of node 0 is 1.00 GiB over the 8.00 GiB that small has"


def test_ranks_on_one_device_are_added_up() -> None:
    (finding,) = fit_findings(on({rank: {0: 3} for rank in range(4)}), SMALL)
    assert finding.ranks == (0, 1, 2, 3)
    assert finding.message == (
        "cuda:0 of node 0 needs 12.0 GiB (the sum of the ranks' peaks): 3.00 GiB from each of ranks 0-3; small has 8.00 GiB"
    )
    assert finding.hint is not None
    assert finding.hint.startswith(
        'ranks 1-3 allocate on cuda:0 instead of devices of their own: call torch.cuda.set_device(int(os.environ["LOCAL_RANK"])) before'
    )


def test_what_other_ranks_allocate_on_a_device_counts_there() -> None:
    """Checkpoints loaded without map_location: the call site is that of the ranks which are out of place."""
    first = {0: {0: need(footprint(6))}}
    others = {
        rank: {0: need(replace(footprint(1), peak_block=block(GIB, call_site="load.py:3"))), 1: need(footprint(5))} for rank in (1, 2)
    }
    devices = physical_devices(first | others, {0: (0,), 1: (0, 1), 2: (0, 2)}, ranks_per_node=4)
    assert [(each.cuda_index, each.peak_bytes // GIB) for each in devices] == [(0, 8), (1, 5), (2, 5)]
    assert fit_findings(devices, SMALL) == ()
    (finding,) = fit_findings(devices, replace(SMALL, usable_bytes=7 * GIB))
    assert str(finding.call_site) == "load.py:3"
    assert finding.ranks == (0, 1, 2)


def test_nodes_are_counted_apart_and_named_together() -> None:
    (finding,) = fit_findings(on({0: {0: 5}, 1: {0: 4}, 2: {0: 5}, 3: {0: 6}}, ranks_per_node=2), SMALL)
    assert finding.message.startswith("cuda:0 of node 1 needs 11.0 GiB")
    assert finding.message.endswith("; small has 8.00 GiB; also over: cuda:0 of node 0")


def test_a_device_too_small_for_one_rank_and_one_too_small_for_two_are_two_findings() -> None:
    alone, together = fit_findings(on({0: {0: 9}, 1: {1: 5}, 2: {1: 5}}), SMALL)
    assert (alone.ranks, together.ranks) == ((0,), (1, 2))


def test_contributions_are_named_largest_first_and_abbreviated() -> None:
    (device,) = on({rank: {0: gib} for rank, gib in enumerate((1, 3, 3, 2, 5, 4))}, ranks_per_node=8)
    assert contributions(device) == (
        "5.00 GiB from rank 4, 4.00 GiB from rank 5, 3.00 GiB from each of ranks 1-2, 2.00 GiB from rank 3 and less from 1 more"
    )


def test_a_device_is_tight_where_the_allocator_can_give_back_what_it_caches() -> None:
    tight = DeviceNeed(footprint=footprint(6), reserved=ReservedMemory(peak_bytes=9 * GIB))
    assert need_fit(tight, SMALL).verdict is Verdict.TIGHT
    assert need_fit(replace(tight, runs_out=True), SMALL).verdict is Verdict.DOES_NOT_FIT
    (finding,) = fit_findings(physical_devices({0: {0: tight}}, {0: (0,)}, ranks_per_node=4), SMALL)
    assert finding.code is FindingCode.TIGHT_FIT
    assert finding.message == (
        "cuda:0 of node 0: rank 0 would reserve 9.00 GiB of the 8.00 GiB that small has, of which 6.00 GiB are allocated: the allocator "
        "has to give back what it caches"
    )


def test_ranks_that_share_a_device_keep_what_they_allocate() -> None:
    """Two that allocate 3 GiB each, and cache as much, have room in 8 GiB; two that allocate 5 GiB each have not."""
    for allocated, verdict in ((3, Verdict.TIGHT), (5, Verdict.DOES_NOT_FIT)):
        both = DeviceNeed(footprint=footprint(allocated), reserved=ReservedMemory(peak_bytes=6 * GIB))
        (device,) = physical_devices({0: {0: both}, 1: {0: both}}, {0: (0,), 1: (0,)}, ranks_per_node=4)
        assert device_fit(device, SMALL).verdict is verdict


def outside(low: float, high: float) -> tuple[OutsideMemory, ...]:
    return (OutsideMemory(device=0, what="context", low_bytes=round(low * GIB), high_bytes=round(high * GIB), source="a report"),)


@pytest.mark.parametrize(
    ("reserved", "runs_out", "verdict", "headroom"),
    [
        pytest.param(6.5, False, Verdict.FITS, 0.5, id="with the most outside"),
        pytest.param(7.25, False, Verdict.TIGHT, -0.25, id="with the least outside only"),
        pytest.param(7.75, False, Verdict.TIGHT, -0.75, id="if the allocator gives back"),
        pytest.param(7.75, True, Verdict.DOES_NOT_FIT, -0.75, id="not even then"),
    ],
)
def test_what_is_outside_the_allocator_counts_as_a_range(reserved: float, runs_out: bool, verdict: Verdict, headroom: float) -> None:
    memory = ReservedMemory(peak_bytes=round(reserved * GIB))
    fit = need_fit(DeviceNeed(footprint=footprint(6), reserved=memory, outside=outside(0.5, 1), runs_out=runs_out), SMALL)
    assert (fit.verdict, fit.headroom_bytes / GIB) == (verdict, headroom)


def test_findings_tell_what_is_outside() -> None:
    for reserved, runs_out, message in (
        (
            7.25,
            False,
            "cuda:0 of node 0: rank 0 would reserve 7.25 GiB of the 8.00 GiB that small has, of which 6.00 GiB are allocated, and 512 MiB "
            "to 1.00 GiB are held outside the allocator: it may be too little",
        ),
        (
            9,
            True,
            "peak reserved 9.00 GiB on rank 0, with at least 512 MiB outside the allocator, is 1.50 GiB over the 8.00 GiB that small has",
        ),
    ):
        memory = ReservedMemory(peak_bytes=round(reserved * GIB))
        need = DeviceNeed(footprint=footprint(6), reserved=memory, outside=outside(0.5, 1), runs_out=runs_out)
        (finding,) = fit_findings(physical_devices({0: {0: need}}, {0: (0,)}, ranks_per_node=4), SMALL)
        assert finding.message == message


def test_what_kernels_may_request_beyond_the_peak_makes_it_tight() -> None:
    """A convolution's workspace is not in the peak: with 1 GiB left, 4.3 times a result of 512 MiB may be too much."""
    convolution = Operation("aten.convolution.default", "float32[1,1], float32[1,1]", "float32[128,1024,1024]")
    full = need(footprint(7), SMALL.usable_bytes)
    assert need_fit(full, SMALL).verdict is Verdict.FITS
    with_workspace = replace(full, not_included=not_included([convolution]))
    fit = need_fit(with_workspace, SMALL)
    assert fit.verdict is Verdict.TIGHT
    assert fit.most_bytes == 7 * GIB + round(4.3 * GIB / 2)
    (device,) = physical_devices({0: {0: with_workspace}}, {0: (0,)}, ranks_per_node=1)
    assert device_fit(device, SMALL) == fit
    (finding,) = fit_findings([device], SMALL)
    assert "kernels may request 2.15 GiB more" in finding.message


def test_what_grows_with_each_step_is_tight_however_much_is_left() -> None:
    one = need(footprint(1), SMALL.usable_bytes)
    growing = replace(
        one, reserved=replace(one.reserved, per_step_peak_bytes=(GIB,), repeated_step_peak_bytes=(2 * GIB, 3 * GIB), has_settled=False)
    )
    fit = need_fit(growing, SMALL)
    assert fit.verdict is Verdict.TIGHT
    assert fit.why_tight == "the last step kept 1.00 GiB more than the one before, for which there is room 7 times"
    (device,) = physical_devices({0: {0: growing}}, {0: (0,)}, ranks_per_node=1)
    (finding,) = fit_findings([device], SMALL)
    assert finding.code is FindingCode.TIGHT_FIT
    assert finding.message.endswith(fit.why_tight)
    settled = replace(growing, reserved=replace(growing.reserved, has_settled=True))
    assert need_fit(settled, SMALL).verdict is Verdict.FITS


@pytest.mark.parametrize(("kept", "verdict"), [(512, Verdict.FITS), (10 * MIB, Verdict.TIGHT)], ids=["losses", "graphs"])
def test_what_is_kept_counts_if_a_job_does_not_fit_for_it(kept: int, verdict: Verdict) -> None:
    assert need_fit(replace(need(footprint(1), SMALL.usable_bytes), kept_bytes=kept), SMALL).verdict is verdict
