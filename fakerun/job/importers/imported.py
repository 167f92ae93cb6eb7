"""What an importer makes of a file."""

from dataclasses import dataclass

from fakerun.job.importers.source import Note
from fakerun.job.launcher import DEFAULT_LAUNCHER, Launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedJob:
    """A job as another launcher's file describes it. What is None, the file does not say.

    `script` is relative to `workdir`, and that to the directory the file is used from. `notes` say what is not carried over;
    `nproc_unknown` says why the file does not give `nproc_per_node`.
    """

    name: str
    line: int
    script: str | None = None
    module: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    workdir: str | None = None
    nnodes: int = 1
    nproc_per_node: int | None = None
    nproc_unknown: str | None = None
    mesh: tuple[tuple[str, int], ...] = ()
    hardware: str | None = None
    launcher: Launcher = DEFAULT_LAUNCHER
    notes: tuple[Note, ...] = ()
