"""`fakerun report`: the report of a run that was kept, in any format, without running it again."""

from pathlib import Path
from typing import Annotated

import typer

from fakerun.cli.hardware_option import OtherHardware
from fakerun.cli.report_output import Format, Output, Trace, check_output, renderer_for, show_report
from fakerun.cli.terminal import note
from fakerun.hardware.request import parse_hardware
from fakerun.units import format_ranks


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIRECTORY", show_default=False)],
    hardware: OtherHardware = None,
    format_: Format = None,
    output: Output = None,
    trace: Trace = False,
) -> int:
    """Show the report of a run that was kept (--run-dir), without running it again; with --hardware, as if for another accelerator."""
    from fakerun.analysis.repricing import repriced
    from fakerun.launch import find_run_directory
    from fakerun.report import build_report

    renderer = renderer_for(format_, output)
    if output is not None:
        check_output(output)
    other = None if hardware is None else parse_hardware(hardware)
    directory = find_run_directory(run_dir)
    job, run = directory.read_job(), directory.records.read_run()
    missing = sorted(set(job.ranks) - {record.rank for record in run.ranks})
    if missing:
        note(f"rank{'s' * (len(missing) > 1)} {format_ranks(missing)}: no record, the run was cut off; --resume goes on with it")
    elif not run.is_complete:
        note("the run was cut off; --resume goes on with it")
    if other is not None:
        job, run = repriced(job, run, other)
    shown = build_report(job, run)
    show_report(shown, renderer, output, trace=trace)
    return shown.exit_code
