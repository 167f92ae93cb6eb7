"""The data file of what lives outside the allocator: enough reports with their sources, and the ranges derived from them."""

import pytest

from fakerun.hardware.accelerator import Vendor
from fakerun.hardware.catalogue import hardware_named, known_hardware
from fakerun.hardware.outside_memory import CommunicatorReport, ContextReport, LinkKind, context_range, outside_figures
from tests.unit.records_by_hand import MIB

FIGURES = outside_figures()
REPORTS: list[ContextReport | CommunicatorReport] = [*FIGURES.contexts, *FIGURES.communicators]


def test_there_are_reports_of_many_cards() -> None:
    assert len(REPORTS) >= 30
    assert len({report.card for report in REPORTS}) >= 15


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: f"{report.card}: {report.source}")
def test_every_report_says_where_it_is(report) -> None:  # type: ignore[no-untyped-def]
    assert report.source.startswith(("github.com/", "measured: scripts/dev/gpu/"))
    assert 100 * MIB < report.outside_bytes < 5000 * MIB


def test_a_message_gives_what_it_does_not_account_for() -> None:
    """14.25 GiB in use, 12.87 GiB allocated, 912.01 MiB unallocated."""
    (report,) = [each for each in FIGURES.contexts if each.source == "github.com/TianheWu/CoSeR/issues/10"]
    assert report.outside_bytes / MIB == pytest.approx((14.25 - 12.87) * 1024 - 912.01, abs=0.01)


@pytest.mark.parametrize("name", known_hardware())
def test_ranges_hold_the_reports_of_their_capability(name: str) -> None:
    hardware = hardware_named(name)
    found = context_range(hardware)
    assert 100 * MIB < found.low_bytes < found.high_bytes < 1200 * MIB
    same = [each for each in FIGURES.contexts if not each.excluded and each.compute_capability == hardware.compute_capability]
    for report in same:
        share = report.outside_bytes * hardware.multiprocessors / report.multiprocessors
        assert found.low_bytes - 1 <= share <= found.high_bytes + 1


def test_few_reports_of_a_capability_are_not_enough() -> None:
    """Three of 8.0 or more decide alone; of 10.0 there is one, so that all of the vendor's count."""
    assert "4 reports of 8.0" in context_range(hardware_named("a100-80gb")).source
    nvidia = [each for each in FIGURES.contexts if not each.excluded and each.vendor is Vendor.NVIDIA]
    assert f"{len(nvidia)} reports of nvidia" in context_range(hardware_named("b200")).source


def test_an_excluded_report_widens_no_range() -> None:
    excluded = max(each.outside_bytes for each in FIGURES.contexts if each.excluded and each.card == "RTX 4090")
    assert context_range(hardware_named("rtx4090")).high_bytes < excluded


def test_every_link_has_channels() -> None:
    assert set(FIGURES.nccl.channels) == set(LinkKind)
