"""The table report's view of ranks that failed: one line for what happened, and the traceback of the first of them, made short."""

import re
from collections.abc import Iterable, Iterator, Sequence

from fakerun.records.run import FailureKind, ProcessFailure
from fakerun.report.model import RankReport
from fakerun.report.style import Style, clip_end
from fakerun.units import format_ranks

_FRAME = re.compile(r'\s*File ".*", line \d+, in ')
_UNDERLINING = re.compile(r"\s+[~^]+")
_HEADING_LINES = 2
_FIRST_LINES, _LAST_LINES = 12, 48
"""What is shown of a very long traceback: where the user began, and where it ended."""


def failures_section(failed: Iterable[RankReport], style: Style) -> list[str]:
    """The first failed rank in full; the others by number, apart where they failed of something else."""
    alike: dict[str, list[RankReport]] = {}
    for rank in failed:
        alike.setdefault(_what_happened(rank), []).append(rank)
    lines: list[str] = []
    for what, ranks in alike.items():
        failure = ranks[0].record.failure
        traceback = [] if lines or failure is None else _traceback_lines(failure)
        heading = style.wrapped(f"{_word(failure)}  {_ranks(ranks)}{what}")
        if traceback and _ends_traceback(failure) and len(heading) > _HEADING_LINES:
            heading = [*heading[: _HEADING_LINES - 1], clip_end(" ".join(heading[_HEADING_LINES - 1 :]), style.width)]
        lines += [style.red(line) for line in heading]
        lines += [f"  {line}".rstrip() for line in _shortened(traceback or _rest_of_message(failure))]
    return lines


def _word(failure: ProcessFailure | None) -> str:
    return "INTERRUPTED" if failure is not None and failure.kind is FailureKind.INTERRUPTED else "FAILED"


def _ranks(ranks: Sequence[RankReport]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {format_ranks(rank.record.rank for rank in ranks)}"


def _what_happened(rank: RankReport) -> str:
    failure = rank.record.failure
    if failure is None:
        return ""
    where = f" at {failure.call_site}" if failure.call_site and failure.call_site not in failure.message else ""
    return f"{where}, step {rank.record.steps}: {failure.in_a_line}"


def _rest_of_message(failure: ProcessFailure | None) -> list[str]:
    """What `sys.exit("...")` says in further lines."""
    return [] if failure is None else failure.message.strip().splitlines()[1:]


def _ends_traceback(failure: ProcessFailure | None) -> bool:
    """Whether the traceback is shown with its message, so that the heading need not have all of it."""
    return failure is not None and failure.kind is not FailureKind.GAP


def _traceback_lines(failure: ProcessFailure) -> list[str]:
    """Without what the heading has said, and without the underlining of expressions, which makes half of the lines."""
    text = failure.traceback.rstrip()
    if not _ends_traceback(failure):
        text = text.removesuffix(f"{failure.exception}: {failure.message}".rstrip()).rstrip()
    return list(_without_underlining(text.splitlines()))


def _without_underlining(lines: Iterable[str]) -> Iterator[str]:
    in_frame = False
    for line in lines:
        if not line.startswith("    "):
            in_frame = _FRAME.match(line) is not None  # a syntax error's place has no function: there the mark is all there is
        if not (in_frame and _UNDERLINING.fullmatch(line)):
            yield line


def _shortened(lines: list[str]) -> list[str]:
    left_out = len(lines) - _FIRST_LINES - _LAST_LINES
    if left_out <= 1:
        return lines
    return [*lines[:_FIRST_LINES], f"... {left_out} lines, which --format json has ...", *lines[-_LAST_LINES:]]
