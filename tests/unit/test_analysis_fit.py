"""The verdict against the hardware."""

from dataclasses import replace

from fakerun.analysis.fit import fit_findings, memory_fit
from fakerun.analysis.memory import MemoryFootprint, footprint_of
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from tests.unit.records_by_hand import GIB, H100, block, site, timeline

SMALL = replace(H100, name="small", usable_bytes=8 * GIB)


def footprint(*gib: float) -> MemoryFootprint:
    categories = (Category.ACTIVATION, Category.PARAMETER, Category.GRADIENT, Category.INPUT)
    blocks = [
        block(round(size * GIB), category, shape=(4, 8192), dtype="bfloat16", call_site=site(f"model.py:{line}"))
        for line, (size, category) in enumerate(zip(gib, categories, strict=False), start=10)
    ]
    return footprint_of(timeline(blocks, range(len(blocks))))


def test_fits_with_headroom() -> None:
    fit = memory_fit(footprint(5, 1.5), SMALL)
    assert fit.fits
    assert fit.headroom_bytes == 3 * GIB // 2
    assert fit_findings({0: footprint(5, 1.5)}, SMALL) == ()


def test_exactly_full_fits() -> None:
    assert memory_fit(footprint(8), SMALL).fits
    assert fit_findings({0: footprint(8)}, SMALL) == ()


def test_nothing_to_fit() -> None:
    assert fit_findings({0: MemoryFootprint()}, SMALL) == ()
    assert fit_findings({}, SMALL) == ()


def test_too_large_says_by_how_much_and_what_is_largest() -> None:
    assert fit_findings({3: footprint(6, 3, 1, 0.5)}, SMALL) == (
        Finding(
            code=FindingCode.DOES_NOT_FIT,
            message="peak allocated 10.5 GiB on rank 3 is 2.50 GiB over the 8.00 GiB that small has",
            ranks=(3,),
            call_site=site("model.py:13"),
            hint=(
                "largest at the peak: activation 6.00 GiB, parameter 3.00 GiB, gradient 1.00 GiB; "
                "the largest tensors are 1 x bfloat16[4,8192] (activation, 6.00 GiB) from model.py:10"
            ),
        ),
    )


def test_several_ranks_too_large_are_one_finding_about_the_worst() -> None:
    (finding,) = fit_findings({0: footprint(9), 1: footprint(12), 2: footprint(1), 3: footprint(9)}, SMALL)
    assert finding.ranks == (0, 1, 3)
    assert finding.message == "peak allocated 12.0 GiB on rank 1 is 4.00 GiB over the 8.00 GiB that small has; also over on ranks 0,3"
