"""The budget of the step time: the estimate, with how far off it may be, held against the limit.

The step may take what published runs of its kind took: a limit in that range cannot be verified.
"""

from collections.abc import Iterator

from fakerun.analysis.budgets.check import Check, Limit
from fakerun.analysis.budgets.judged_run import JudgedRun
from fakerun.analysis.time.estimate import NoEstimate, StepEstimate
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import format_seconds, name_ranks


def step_time_checks(judged: JudgedRun) -> Iterator[Check]:
    """One if there is such a budget."""
    budget = judged.budgets.step_time
    if budget is None:
        return
    limit = Limit(name=budget.name, text=format_seconds(budget.most_s), source=budget.source)
    if isinstance(judged.step_time, NoEstimate):
        yield limit.unverified("", "", [f"the step time is not known: {judged.step_time.reason}"])
        return
    yield _check(judged, judged.step_time, budget.most_s, limit)


def _check(judged: JudgedRun, estimate: StepEstimate, most_s: float, limit: Limit) -> Check:
    ranks = estimate.summed.slowest.ranks
    subject, measured = name_ranks(ranks), _measured(estimate)
    low_s, high_s = estimate.range_s
    if low_s > most_s:
        message = f"a step is estimated to take {measured}, {format_seconds(low_s - most_s)} above the limit: {limit}"
        site = next((entry.call_site for entry in estimate.path if entry.call_site is not None), None)
        hint = None if site is None else f"Most of the critical path is at {site}."
        finding = Finding(code=FindingCode.OVER_BUDGET, message=message, ranks=ranks, call_site=site, hint=hint)
        return limit.exceeded(subject, measured, finding)
    reasons = list(judged.not_known(judged.every_rank))
    if estimate.without:
        reasons.append(f"the time of {estimate.without} is not known and not counted")
    elif high_s > most_s:
        reasons.append("the limit is in the range of what the step may take")
    return limit.unverified(subject, measured, reasons, ranks=ranks) if reasons else limit.kept(subject, measured)


def _measured(estimate: StepEstimate) -> str:
    if estimate.without:
        return f"at least {format_seconds(estimate.range_s[0])}"
    low_s, high_s = map(format_seconds, estimate.range_s)
    return format_seconds(estimate.seconds) + ("" if low_s == high_s else f" ({low_s} to {high_s})")
