"""Collectives that must not be issued: by `error_on_collective`, in a phase, or in modules whose names match a pattern."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from fakerun.analysis.budgets.check import Check, Limit
from fakerun.analysis.budgets.judged_run import JudgedRun
from fakerun.job.budgets import Budgets, NoCollectives
from fakerun.job.forbidden import EVERY_OPERATION
from fakerun.job.spec import JobSpec
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.units import format_bytes, join_words, name_ranks

ERROR_ON_COLLECTIVE = "error_on_collective"


def no_collectives_checks(judged: JudgedRun) -> Iterator[Check]:
    """One for each budget; its finding describes the first forbidden call of the first rank that issues one."""
    for budget in _budgets(judged.job, judged.budgets):
        yield _check(judged, budget)


def forbidden_findings(ranks: Iterable[RankRecord], job: JobSpec, budgets: Budgets) -> Iterator[Finding]:
    """One `forbidden-collective` of each rank for each budget that it does not keep."""
    ranks = tuple(ranks)
    for budget in _budgets(job, budgets):
        for record in ranks:
            if issued := _issued(record, budget):
                yield _finding(record, issued, budget)


def _budgets(job: JobSpec, budgets: Budgets) -> Iterator[NoCollectives]:
    if job.error_on_collective:
        yield NoCollectives(
            name=ERROR_ON_COLLECTIVE, ops=job.error_on_collective, source=job.error_on_collective_source, only_simulated=True
        )
    yield from budgets.no_collectives


def _check(judged: JudgedRun, budget: NoCollectives) -> Check:
    what = "no collective" if set(budget.ops) >= set(EVERY_OPERATION) else f"no {join_words(budget.ops)}"
    limit = Limit(name=budget.name, text=what, source=budget.source)
    issued = {record.rank: calls for record in judged.run.ranks if (calls := _issued(record, budget))}
    if issued:
        most = max(map(len, issued.values()))
        record = next(record for record in judged.run.ranks if record.rank in issued)
        measured = f"{most} call{'s' * (most != 1)}"
        return limit.exceeded(name_ranks(issued), measured, _finding(record, issued[record.rank], budget))
    reasons = [*judged.not_known(judged.every_rank, only_simulated=budget.only_simulated), *_no_such_module(judged, budget)]
    return limit.unverified("", "0 calls", reasons) if reasons else limit.kept("", "0 calls")


def _issued(record: RankRecord, budget: NoCollectives) -> list[CollectiveRecord]:
    return [
        call
        for call in record.collectives
        if call.op in budget.ops
        and budget.phase in (None, call.phase)
        and (budget.module is None or (call.module is not None and is_in_module(call.module, budget.module)))
    ]


def is_in_module(module: str, pattern: str) -> bool:
    """Whether the module, or one that it is a part of, has a name that matches: `layers.*` matches `layers.0` and `layers.0.attention`."""
    names, patterns = module.split("."), pattern.split(".")
    return len(names) >= len(patterns) and all(map(fnmatchcase, names, patterns))


def _no_such_module(judged: JudgedRun, budget: NoCollectives) -> Iterator[str]:
    """A pattern that matches no module of the run forbids nothing: it is mistyped, or the model was renamed."""
    if budget.module is None:
        return
    for record in judged.run.ranks:
        seen = {block.module for block in record.program.blocks} | {call.module for call in record.collectives}
        if any(module is not None and is_in_module(module, budget.module) for module in seen):
            return
    yield f"no module of the run matches {budget.module}"


def _finding(record: RankRecord, issued: list[CollectiveRecord], budget: NoCollectives) -> Finding:
    first = issued[0]
    by = budget.source if budget.source.startswith("--") else f"{budget.name} ({budget.source})"
    return Finding(
        code=FindingCode.FORBIDDEN_COLLECTIVE,
        message=f"{_described(first)} is forbidden by {by}{_others(len(issued) - 1)}",
        ranks=(record.rank,),
        call_site=first.call_site,
        hint=None if first.module is None else f"It was issued in module {first.module}.",
    )


def _others(count: int) -> str:
    return f", and {count} call{'s' * (count > 1)} after it {'are' if count > 1 else 'is'}" if count else ""


def _described(call: CollectiveRecord) -> str:
    what = f"{call.op} of {format_bytes(call.nbytes)} {call.dtype}" if call.dtype else str(CollectiveOp(call.op))
    return f"{what} over {call.group} ({call.group_size} ranks) in step {call.step}, {call.phase},"
