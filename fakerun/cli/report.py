"""`fakerun report`: the report of a run that was kept, in any format, without running it again."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fakerun.cli.destinations import destinations
from fakerun.cli.gate import Ignore, MaxMemory, Strict, gate_of
from fakerun.cli.help import FullHelp
from fakerun.cli.options import Calibrate, InterconnectName, OtherAllocConf, OtherHardware, Quiet, TokensPerStep
from fakerun.cli.report_output import Format, Output, Top, Trace, detail_of, needs_history, needs_timeline, show_reports
from fakerun.cli.repository import job_report
from fakerun.cli.sources import timing_of
from fakerun.cli.terminal import be_quiet, note
from fakerun.hardware.request import parse_hardware
from fakerun.job.alloc_conf import checked_alloc_conf
from fakerun.units import format_ranks

_CONTINUE = "to continue it, repeat the command of the run with --resume"


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIRECTORY", show_default=False)],
    hardware: OtherHardware = None,
    alloc_conf: OtherAllocConf = None,
    interconnect: InterconnectName = None,
    tokens_per_step: TokensPerStep = None,
    calibrate: Calibrate = None,
    max_memory: MaxMemory = None,
    strict: Strict = False,
    ignore: Ignore = None,
    format_: Format = None,
    output: Output = None,
    trace: Trace = False,
    top: Top = None,
    quiet: Quiet = False,
    help_all: FullHelp = False,
) -> int:
    """Show the report of a run that was kept (--run-dir), without running it again; with --hardware and the like, as if for these."""
    from fakerun.analysis.repricing import repriced
    from fakerun.launch import find_run_directory
    from fakerun.report import build_report

    be_quiet(quiet)
    outputs = destinations(format_, output)
    gate = gate_of(max_memory, ignore, strict=strict)
    other = None if hardware is None else parse_hardware(hardware)
    settings = None if alloc_conf is None else checked_alloc_conf(alloc_conf)
    timing = timing_of(interconnect, tokens_per_step, calibrate)
    directory = find_run_directory(run_dir)
    job = directory.read_job()
    run = directory.read_run(job)
    missing = sorted(set(job.ranks) - {record.rank for record in run.ranks})
    if missing:
        note(f"the run was interrupted: no record of rank{'s' * (len(missing) > 1)} {format_ranks(missing)}; {_CONTINUE}")
    elif not run.is_complete:
        note(f"the run was interrupted; {_CONTINUE}")
    if other is not None:
        job, run = repriced(job, run, other)
    timing.calibration.check_hardware(job.hardware)
    job = replace(job, timing=timing.over(job.timing))
    if settings is not None:
        job = replace(job, alloc_conf=settings)
    shown = build_report(job, run, gate, with_history=needs_history(outputs), with_timeline=needs_timeline(outputs))
    show_reports([job_report(shown)], outputs, detail_of(trace=trace, top=top))
    return shown.exit_code
