"""Finding the file of a project's jobs from a directory in it."""

from pathlib import Path

from fakerun.errors import UsageError
from fakerun.job.toml_document import has_table

NAMES = ("fakerun.yaml", "fakerun.yml")
PYPROJECT = "pyproject.toml"


def find_job_file(directory: Path) -> Path:
    """The job file of the nearest of a directory and those above it; in one directory `NAMES` go before a pyproject.toml.

    Its path is relative to `directory` where it is in there.

    Raises:
        UsageError: there is none; or a pyproject.toml on the way cannot be read.
    """
    for each in (directory, *directory.parents):
        for name in NAMES:
            if (each / name).is_file():
                return _shown(each / name, directory)
        if (each / PYPROJECT).is_file() and has_table(each / PYPROJECT):
            return _shown(each / PYPROJECT, directory)
    raise UsageError(
        f"no job file: neither {' nor '.join(NAMES)} nor [tool.fakerun] in {PYPROJECT} in {directory} or above it; "
        "write one (docs/job_files.md), or pass the path of a job file"
    )


def _shown(path: Path, directory: Path) -> Path:
    return path.relative_to(directory) if path.is_relative_to(directory) else path
