"""What a report says without the records of ranks: it is kept and read back, and the formats that need no more show the same of it."""

import pytest

from fakerun.report.formats import FORMATS
from fakerun.report.job_report import JobReport, JobResult
from fakerun.report.result import decode_result, encode_result, kept_result
from tests.unit.jobs_by_hand import checked_job, findings, job_report, several_jobs
from tests.unit.test_report_formats_text import PAGES

JOBS = {
    **{f"{number} of several": job for number, job in enumerate(several_jobs()) if job.name.isascii() and job.name.isprintable()},
    "checked": checked_job(),
    "strict": job_report(*(each for each in findings() if each.message.isprintable()), strict=True),
    **{name: JobReport(name=name, report=page()) for name, page in PAGES.items()},
}


def read_back(job: JobReport) -> JobResult:
    return JobResult(name=job.name, report=decode_result(encode_result(job.report)), paths=job.paths)


def encodable(job: JobReport) -> bool:
    try:
        encode_result(job.report)
    except ValueError:
        return False
    return True


KEPT = {name: job for name, job in JOBS.items() if encodable(job)}


def test_nearly_all_can_be_kept() -> None:
    """A text with a lone surrogate cannot: a file name that is not UTF-8."""
    assert len(KEPT) >= len(JOBS) - 2


@pytest.mark.parametrize("job", KEPT.values(), ids=KEPT)
def test_it_is_read_back_as_it_was(job: JobReport) -> None:
    assert decode_result(encode_result(job.report)) == kept_result(job.report)
    assert encode_result(decode_result(encode_result(job.report))) == encode_result(job.report)


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if not each.needs_reports(2)])
def test_formats_show_the_same_of_it(name: str) -> None:
    jobs = list(KEPT.values())
    assert FORMATS[name].render([read_back(job) for job in jobs]) == FORMATS[name].render(jobs)


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if not each.needs_reports(1)])
@pytest.mark.parametrize("job", KEPT.values(), ids=KEPT)
def test_formats_show_the_same_of_one(name: str, job: JobReport) -> None:
    assert FORMATS[name].render([read_back(job)]) == FORMATS[name].render([job])


def test_a_format_that_shows_more_refuses_it() -> None:
    one = read_back(checked_job())
    for name, each in FORMATS.items():
        if each.needs_reports(1):
            with pytest.raises(ValueError, match="of job checked only the result is there; build its report"):
                each.render([one])
        else:
            assert each.render([one]), name


@pytest.mark.parametrize("data", [b"", b"{}", b"{", b"\xff", encode_result(checked_job().report)[:-20]])
def test_what_is_damaged_is_no_result(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"validation error|Invalid JSON|invalid"):
        decode_result(data)
