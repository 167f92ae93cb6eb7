"""Jobs of a job file in tests: runs one by its name."""

from pathlib import Path

from fakerun.errors import UsageError
from fakerun.job.check_file import load_jobs, select_jobs
from fakerun.job.discovery import find_job_file
from fakerun.launch import open_run_directory, run_job
from fakerun.report import Report, build_report


def checked_job(name: str, file: Path | None, directory: Path) -> Report:
    """The report of the job of that name, in the file or in the job file of the directory or of the nearest one above.

    Raises:
        UsageError: there is no such file or job, or the file is wrong.
    """
    path = find_job_file(directory) if file is None else file
    selected = select_jobs(load_jobs(path), [name], file=path)
    if len(selected) > 1:
        raise UsageError(f"{path}: {name!r} names {len(selected)} jobs: {', '.join(job.name for job in selected)}; name one of them")
    spec = selected[0].request.resolve()
    with open_run_directory(None) as kept:
        report = build_report(spec, run_job(spec, kept, show_output=False))
        kept.discard()
    return report
