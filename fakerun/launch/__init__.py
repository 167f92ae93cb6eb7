"""Rank processes and the run directory. Torch-free: starts `fakerun.rank` by name and reads the records that it leaves."""

from fakerun.launch.run import run_job
from fakerun.launch.run_directory import RunDirectory, open_run_directory

__all__ = ["RunDirectory", "open_run_directory", "run_job"]
