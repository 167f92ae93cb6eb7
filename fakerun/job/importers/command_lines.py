"""Command lines in a text file or a shell script: each that starts ranks is a job."""

from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.launches import Placement, ScriptSetting, jobs_of_script
from fakerun.job.importers.source import Source


def command_line_jobs(source: Source) -> tuple[ImportedJob, ...]:
    """The jobs of the file's command lines; a prompt before them (`$ torchrun ...`) is not part of them.

    Raises:
        UsageError: it has none, or one that cannot be carried over.
    """
    lines = [line.removeprefix("$ ") for line in source.text.split("\n")]
    script = Source(name=source.name, text="\n".join(lines))
    return jobs_of_script(script, script.text, ScriptSetting(place=lambda _launch: Placement()))
