"""The section of ranks that did not finish: a line for what happened, and the traceback of the first that failed, made short.

Ranks that failed come before those that are blocked, which may wait for them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from fakerun.call_site import CallSite
from fakerun.printable import cut, printable
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.report.model import BlockedReport, FailureReport
from fakerun.report.page.blocks import Prose, Section, Traceback
from fakerun.report.result import Result
from fakerun.units import join_words, name_ranks

_FRAME = re.compile(r'\s*File ".*", line \d+, in ')
_UNDERLINING = re.compile(r"\s+[~^]+")
_USAGE = re.compile(r"^usage: ", re.MULTILINE)
_WRONG_ARGUMENTS = 2
"""The status with which argparse ends a program."""

_SITES_SHOWN = 3
_FIRST_LINES, _LAST_LINES = 12, 48
"""What is shown of a very long traceback: where the user began, and where it ended."""


_MOST_OF_A_HEADING = 500
_MOST_OF_A_LINE = 2000

_END_OF_STDERR = "The end of its stderr:"


def failures_section(report: Result) -> Section:
    """The first failure in full; of the others what happened, and to which ranks."""
    failures = [_traceback(each, in_full=number == 0) for number, each in enumerate(report.failures)]
    hints = [hint for each in report.failures[:1] for hint in (*_refused_arguments(each), *_placeholder_reads(each))]
    return Section(title="Ranks that did not finish", blocks=(*failures, *hints, *map(_blocked, report.blocked)))


def _refused_arguments(each: FailureReport) -> Iterator[Prose]:
    """Where argparse ended the script, the way to pass arguments to it."""
    failure = each.failure
    if failure.kind is FailureKind.EXIT and failure.exit_code == _WRONG_ARGUMENTS and _USAGE.search(failure.traceback):
        yield Prose(
            text="The script refuses its arguments. On the command line they follow --, as in: fakerun train.py --world-size 8 -- "
            "--lr 3e-4; in a job file they are args: [--lr, 3e-4]."
        )


def _placeholder_reads(each: FailureReport) -> Iterator[Prose]:
    sites = each.failure.placeholder_reads
    if sites:
        yield Prose(
            text=f"Before it failed, {name_ranks(each.ranks[:1])} had read values that a dry run does not compute, at "
            f"{_some_of(sites)}: the failure may follow from them."
        )


def _some_of(sites: Sequence[CallSite]) -> str:
    shown = [*map(str, sites[:_SITES_SHOWN]), *([f"{len(sites) - _SITES_SHOWN} others"] if len(sites) > _SITES_SHOWN else [])]
    return join_words(shown)


def _traceback(each: FailureReport, *, in_full: bool) -> Traceback:
    failure = each.failure
    lines = _lines_of(failure) if in_full else []
    return Traceback(
        verdict=_verdict(failure),
        what_happened=f"{name_ranks(each.ranks)}{_what_happened(each)}",
        lines=tuple(_shortened(lines or _rest_of_message(failure))),
        lines_end_with_message=bool(lines) and _ends_traceback(failure),
    )


def _blocked(each: BlockedReport) -> Traceback:
    where = f" at {each.call_site}" if each.call_site and str(each.call_site) not in each.waiting else ""
    return Traceback(
        verdict="BLOCKED",
        what_happened=f"{name_ranks(each.ranks)}{where}, step {each.steps}: {each.waiting}",
        lines=(),
        lines_end_with_message=False,
    )


def verdict(record: RankRecord) -> str:
    """`ok`, or how the rank ended otherwise. An interruption by the user is no failure of the script."""
    if record.blocked is not None:
        return "BLOCKED"
    return "ok" if record.failure is None else _verdict(record.failure)


def _verdict(failure: ProcessFailure) -> str:
    return "INTERRUPTED" if failure.kind is FailureKind.INTERRUPTED else "FAILED"


def _what_happened(each: FailureReport) -> str:
    failure = each.failure
    where = f" at {failure.call_site}" if failure.call_site and str(failure.call_site) not in failure.message else ""
    return f"{where}, step {each.steps}: {cut(printable(failure.summary_line), _MOST_OF_A_HEADING)}"


def _rest_of_message(failure: ProcessFailure) -> list[str]:
    """What `sys.exit("...")` says in further lines."""
    return printable(failure.message).strip().split("\n")[1:]


def _ends_traceback(failure: ProcessFailure) -> bool:
    """Whether the traceback is shown with its message, so that the heading need not have all of it."""
    return failure.kind not in (FailureKind.GAP, FailureKind.EXIT)


def _lines_of(failure: ProcessFailure) -> list[str]:
    """The traceback; of a script that ended itself, what it wrote last."""
    if failure.kind is FailureKind.EXIT and failure.traceback:
        return [_END_OF_STDERR, *printable(failure.traceback).rstrip().split("\n")]
    return _traceback_lines(failure)


def _traceback_lines(failure: ProcessFailure) -> list[str]:
    """Without what the heading has said, and without the underlining of expressions, which makes half of the lines."""
    text = failure.traceback.rstrip()
    if not _ends_traceback(failure):
        text = text.removesuffix(f"{failure.exception}: {failure.message}".rstrip()).rstrip()
    return list(_without_underlining(printable(text).split("\n"))) if text else []


def _without_underlining(lines: Iterable[str]) -> Iterator[str]:
    in_frame = False
    for line in lines:
        if not line.startswith("    "):
            in_frame = _FRAME.match(line) is not None  # a syntax error's place has no function: there the mark is all there is
        if not (in_frame and _UNDERLINING.fullmatch(line)):
            yield line


def _shortened(lines: list[str]) -> list[str]:
    lines = [cut(line, _MOST_OF_A_LINE) for line in lines]
    left_out = len(lines) - _FIRST_LINES - _LAST_LINES
    if left_out <= 1:
        return lines
    return [*lines[:_FIRST_LINES], f"... {left_out} lines left out; --format json has them ...", *lines[-_LAST_LINES:]]
