"""How the allocator of a rank is set, and what is told of that."""

from dataclasses import replace

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.allocator_settings import allocator_findings, allocator_settings
from fakerun.records.finding_code import FindingCode
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import job

EXPANDABLE = "expandable_segments:True"


def record(**variables: str) -> RankRecord:
    return RankRecord(rank=3, torch_version="2.13.0+cpu", memory_variables=variables)


def test_the_job_decides_before_the_variables_of_the_rank() -> None:
    assert allocator_settings(job(), record()) == AllocatorSettings()
    assert allocator_settings(job(), record(PYTORCH_ALLOC_CONF=EXPANDABLE)).expandable_segments
    assert not allocator_settings(job(alloc_conf=""), record(PYTORCH_ALLOC_CONF=EXPANDABLE)).expandable_segments
    assert allocator_settings(job(), record()).torch_version == (2, 13)


def test_settings_that_torch_refuses_are_an_error() -> None:
    wrong = record(PYTORCH_ALLOC_CONF="max_split_size_mb:1")
    (finding,) = allocator_findings(job(), [wrong, replace(wrong, rank=4)])
    assert (finding.code, finding.ranks) == (FindingCode.ALLOC_CONF, (3,))
    assert finding.message == (
        "torch refuses PYTORCH_ALLOC_CONF='max_split_size_mb:1': CachingAllocator option max_split_size_mb too small, must be >= 20"
    )
    assert allocator_settings(job(), wrong) == AllocatorSettings()
    assert list(allocator_findings(job(alloc_conf=EXPANDABLE), [wrong])) == []


def test_another_allocator_is_noted() -> None:
    (finding,) = allocator_findings(job(alloc_conf="backend:cudaMallocAsync"), [record()])
    assert finding.code is FindingCode.OTHER_ALLOCATOR
