"""`fakerun schema`: the JSON Schema of job files, for editors."""

from fakerun.cli.help import FullHelp
from fakerun.cli.report_output import write_report


def schema(help_all: FullHelp = False) -> int:
    """Print the JSON Schema of job files."""
    from fakerun.job.file_schema import job_file_schema  # pydantic and yaml: `fakerun --help` needs neither

    write_report(job_file_schema(), None)
    return 0
