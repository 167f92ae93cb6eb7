"""How the caching allocator of a rank is set, and what of that the user should know."""

from collections.abc import Iterable, Iterator

from fakerun.allocator.settings import LATEST, AllocatorSettings, TorchVersion
from fakerun.job.spec import JobSpec
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord


def allocator_settings(job: JobSpec, record: RankRecord) -> AllocatorSettings:
    """The job's own settings, else those of the variables that the rank found; the defaults where torch refuses these."""
    version = _version(record.torch_version)
    if job.alloc_conf is not None:
        return AllocatorSettings.parse(job.alloc_conf, version)
    try:
        return AllocatorSettings.from_environment(record.memory_variables, version)
    except ValueError:
        return AllocatorSettings(torch_version=version)


def allocator_findings(job: JobSpec, records: Iterable[RankRecord]) -> Iterator[Finding]:
    """Settings that torch refuses, and an allocator that is not the one whose memory is told; each for the first rank that has it."""
    told: set[str] = set()
    for record in records:
        for finding in _allocator_findings(job, record):
            if finding.message not in told:
                told.add(finding.message)
                yield finding


def _allocator_findings(job: JobSpec, record: RankRecord) -> Iterator[Finding]:
    if job.alloc_conf is None:
        try:
            AllocatorSettings.from_environment(record.memory_variables, _version(record.torch_version))
        except ValueError as error:
            variables = ", ".join(f"{name}={value!r}" for name, value in record.memory_variables.items() if name.endswith("ALLOC_CONF"))
            yield Finding(code=FindingCode.ALLOC_CONF, message=f"torch refuses {variables}: {error}", ranks=(record.rank,))
    if allocator_settings(job, record).backend != "native":
        yield Finding(
            code=FindingCode.OTHER_ALLOCATOR,
            message="backend:cudaMallocAsync is set, which is not simulated: what is told as reserved is what torch's own allocator would "
            "reserve",
            ranks=(record.rank,),
        )


def _version(text: str | None) -> TorchVersion:
    if text is None:
        return LATEST
    major, minor = text.split(".")[:2]
    return int(major), int(minor)
