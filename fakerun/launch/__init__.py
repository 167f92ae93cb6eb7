"""Rank processes and the run directory. Torch-free: starts `fakerun.rank` by name and reads the records that it leaves."""

from fakerun.launch.resume import resume_run_directory
from fakerun.launch.run import run_job
from fakerun.launch.run_directory import RunDirectory, find_run_directory, open_run_directory

__all__ = ["RunDirectory", "find_run_directory", "open_run_directory", "resume_run_directory", "run_job"]
