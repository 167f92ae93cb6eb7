"""What `--ranks auto` says of random programs that single ranks out, beside what is right.

python -m tests.e2e.random_rank_programs              # 300 programs on 64 to 4,096 ranks, a line each; half an hour on two cores
python -m tests.e2e.random_rank_programs --count 20 --seed 5
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fakerun.job.ranks import AUTO_RANKS, RankChoice
from fakerun.job.request import JobRequest
from fakerun.launch import JobRun, RankServer, open_run_directory, run_jobs
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.report import build_report
from fakerun.report.model import Report
from tests.rank_choices import RANKS_PER_NODE, Choice, random_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `--ranks auto` says of a program, and what is wrong with that (empty: nothing)."""

    choice: Choice
    report: Report

    @property
    def finds_mismatch(self) -> bool:
        return any(finding.code in {FindingCode.MISSING_COLLECTIVE, FindingCode.EXTRA_COLLECTIVE} for finding in self.report.findings)

    @property
    def says_that_ranks_are_assumed(self) -> bool:
        """A warning that not all is known."""
        codes = {FindingCode.RANKS_ASSUMED, FindingCode.RANKS_UNKNOWN, FindingCode.ASSUMPTION_REFUTED}
        return any(finding.code in codes and finding.severity is Severity.WARNING for finding in self.report.findings)

    @property
    def fault(self) -> str:
        """A choice by predicates must be found, with the very ranks; of another one it must be said that not all is known."""
        failures = [rank.record.failure for rank in self.report.failed]
        if failures:
            return f"ranks failed: {failures[0]}"
        right = self.finds_mismatch == self.choice.has_mismatch
        if self.choice.is_followed and not right:
            return f"finds {'a' if self.finds_mismatch else 'no'} mismatch; {len(self.choice.chosen)} ranks leave out the call"
        if not right and not self.says_that_ranks_are_assumed:
            return f"finds {'a' if self.finds_mismatch else 'no'} mismatch, and does not say that ranks are assumed"
        if self.choice.is_followed and self.choice.has_mismatch and not self._names_the_ranks():
            return "names other ranks than those that leave out the call"
        return ""

    def _names_the_ranks(self) -> bool:
        """The finding names the minority; where there is none, one of the sides."""
        chosen = set(self.choice.chosen)
        named = {rank for finding in self.report.findings if finding.severity is Severity.ERROR for rank in finding.ranks}
        return named in (chosen, set(range(self.choice.world_size)) - chosen)


def verdicts(choices: Sequence[Choice], place: Path, ranks: RankChoice = AUTO_RANKS) -> Iterator[Verdict]:
    """Simulate the programs, all with one fork server."""
    jobs = [
        JobRequest(script=choice.write(place / f"{choice.seed}"), nnodes=choice.nodes, nproc_per_node=RANKS_PER_NODE, ranks=ranks).resolve()
        for choice in choices
    ]
    with RankServer() as server:
        for choice, job in zip(choices, jobs, strict=True):
            directory = open_run_directory(None)
            (run,) = run_jobs([JobRun(job, directory)], server)
            directory.discard()
            yield Verdict(choice=choice, report=build_report(job, run))


def main() -> None:
    parser = argparse.ArgumentParser(description="Random programs that single ranks out, under --ranks auto.")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first program; the others follow")
    args = parser.parse_args()
    choices = [random_choice(seed) for seed in range(args.seed, args.seed + args.count)]
    tally: Counter[str] = Counter()
    began = time.perf_counter()
    print(f"{'seed':>5} {'ranks':>6} {'chosen':>7} {'simulated':>9}  {'found':<6}{'warns':<6} by")
    with tempfile.TemporaryDirectory() as place:
        for verdict in verdicts(choices, Path(place)):
            choice = verdict.choice
            tally[f"{'predicates' if choice.is_followed else 'others'}: {verdict.fault.partition(';')[0] or 'right'}"] += 1
            tally["simulated ranks"] += len(verdict.report.ranks)
            tally["predicates that are called assumed"] += choice.is_followed and verdict.says_that_ranks_are_assumed
            print(
                f"{choice.seed:>5} {choice.world_size:>6} {len(choice.chosen):>7} {len(verdict.report.ranks):>9}  "
                f"{verdict.finds_mismatch!s:<6}{verdict.says_that_ranks_are_assumed!s:<6} {', '.join(choice.kinds)}"
                f"{f'  WRONG: {verdict.fault}' if verdict.fault else ''}",
                flush=True,
            )
    print(f"{time.perf_counter() - began:.0f} s", *(f"{count} {what}" for what, count in sorted(tally.items())), sep="\n")
    sys.exit(any("right" not in what and ": " in what for what in tally))


if __name__ == "__main__":
    main()
