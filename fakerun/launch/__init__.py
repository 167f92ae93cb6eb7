"""Rank processes and run directories. Torch-free: starts `fakerun.rank` by module name and reads the records that it leaves."""

from fakerun.launch.job_run import JobRun
from fakerun.launch.resume import resume_run_directory
from fakerun.launch.run import run_job, run_jobs
from fakerun.launch.run_directory import RunDirectory, find_run_directory, open_run_directory
from fakerun.launch.server import RankServer

__all__ = [
    "JobRun",
    "RankServer",
    "RunDirectory",
    "find_run_directory",
    "open_run_directory",
    "resume_run_directory",
    "run_job",
    "run_jobs",
]
