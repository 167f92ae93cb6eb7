"""The result in one line: the verdict, the peak, the bus bytes, ranks that failed, how many findings, and what was not checked."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from fakerun.errors import ExitCode
from fakerun.records.finding_code import Severity
from fakerun.report.page.blocks import Summary, Tone
from fakerun.report.page.time import headline
from fakerun.report.result import Result
from fakerun.units import format_bytes

_VERDICTS: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.OK: "OK",
        ExitCode.FINDINGS: "NOT OK",
        ExitCode.USAGE: "WRONG USAGE",
        ExitCode.SCRIPT_FAILED: "SCRIPT FAILED",
        ExitCode.INTERNAL: "NOT SIMULATED",
        ExitCode.INTERRUPTED: "INTERRUPTED",
    }
)


def summary(report: Result) -> Summary:
    """`OK  peak 12.8 GiB reserved of 79.1 GiB (fits), 2.79 s a step, 41 % MFU, 10.9 GiB bus bytes per step, no errors, 1 warning; ...`."""
    unchecked = ", ".join(_unchecked(report))
    text = ", ".join((_peak(report), *headline(report.step_figures), *_bus_bytes(report), *_counts(report)))
    return Summary(
        verdict=verdict(report.exit_code),
        tone=Tone.GOOD if report.exit_code is ExitCode.OK else Tone.BAD,
        text=text + (f"; not checked: {unchecked}" if unchecked else ""),
    )


def verdict(code: ExitCode) -> str:
    """The outcome of a run in a word or two."""
    return _VERDICTS[code]


def _peak(report: Result) -> str:
    if (fit := report.fit) is None:
        return "no device memory"
    is_known = not fit.fits or not (report.failures or report.blocked)
    words = f" ({fit.verdict.words})" if is_known else ""
    return f"peak {format_bytes(fit.peak_bytes)} reserved of {format_bytes(fit.usable_bytes)}{words}"


def _bus_bytes(report: Result) -> Iterator[str]:
    if (nbytes := report.bus_bytes_per_step) is not None:
        yield f"{format_bytes(nbytes)} bus bytes per step"


def _counts(report: Result) -> Iterator[str]:
    if failed := len(report.failed_ranks):
        yield f"{failed} rank{'s' * (failed > 1)} failed"
    errors, warnings = (sum(each.severity is severity for each in report.findings) for severity in (Severity.ERROR, Severity.WARNING))
    yield f"{errors or 'no'} error{'s' * (errors != 1)}"
    if warnings:
        yield f"{warnings} warning{'s' * (warnings > 1)}"
    if ignored := sum(report.ignored_findings.values()):
        yield f"{ignored} ignored"


def _unchecked(report: Result) -> Iterator[str]:
    """Ranks that were not simulated, and what comes after the step at which the script was stopped."""
    world_size = report.job.world_size
    if assumed := report.assumed_count:
        yield f"{assumed} of {world_size} ranks (assumed)"
    if unknown := world_size - assumed - len(report.simulated):
        yield f"{unknown} of {world_size} ranks"
    if report.stopped_after is not None:
        yield f"what follows step {report.stopped_after - 1}"
