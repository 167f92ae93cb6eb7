"""The repository that a job's files are in, and their paths there: what annotations of a pull request are attached to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakerun.report import JobReport, Report
    from fakerun.report.job_report import JobResult
    from fakerun.report.result import Result

_ROOT_VARIABLES = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
"""Where GitHub Actions and GitLab have checked out the repository."""


def job_report(report: "Report", *, name: str | None = None) -> "JobReport":
    """The report of a job by its name, else by that of the program, with the files of the repository that it names."""
    from fakerun.report import JobReport

    return JobReport(name=name or report.job.module or str(report.job.script), report=report, paths=_paths(report))


def job_result(result: "Result", *, name: str) -> "JobResult":
    """As `job_report`, of a result."""
    from fakerun.report.job_report import JobResult

    return JobResult(name=name, report=result, paths=_paths(result))


def _paths(report: "Result") -> dict[str, str]:
    """Files are looked for where the job ran, beside its script, and in the current directory, as the job file is."""
    from fakerun.report.diagnostics import shown_paths

    here, script = Path.cwd(), report.job.script
    directory = (report.job.workdir or here).resolve()
    root = repository_root(here)
    bases = [directory, *([] if script is None else [(directory / script).parent]), here]
    found = ((shown, _path_in(root, bases, shown)) for shown in shown_paths(report))
    paths = {shown: path for shown, path in found if path is not None}
    if report.job.module is not None and (program := _module_in(root, directory, report.job.module)) is not None:
        paths[report.job.program] = program
    return paths


def repository_root(directory: Path) -> Path:
    """Where CI has checked out the repository that `directory` is in; else the nearest directory with a `.git`; else itself."""
    for name in _ROOT_VARIABLES:
        root = Path(os.environ.get(name) or os.devnull).resolve()
        if root.is_dir() and directory.is_relative_to(root):
            return root
    return next((each for each in (directory, *directory.parents) if (each / ".git").exists()), directory)


def _path_in(root: Path, bases: Sequence[Path], shown: str) -> str | None:
    """The path in the repository of a file that is shown relative to one of the bases; None if none of them has it, or it is outside."""
    file = next(filter(None, (_file(base, shown) for base in bases)), None)
    return file.relative_to(root).as_posix() if file is not None and file.is_relative_to(root) else None


def _file(base: Path, shown: str) -> Path | None:
    try:
        file = (base / shown).resolve()
        return file if file.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name that no file can have; a loop of links
        return None


def _module_in(root: Path, directory: Path, module: str) -> str | None:
    file = module.replace(".", "/")
    return _path_in(root, [directory], f"{file}.py") or _path_in(root, [directory], f"{file}/__main__.py")
