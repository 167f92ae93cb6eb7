"""Budgets of communication: the bytes and calls of a rank in a step.

The first step has calls that set up what later steps use, so it counts only where no other was completed. Of the others the one with the
most counts, and of all ranks the one with the most.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fakerun.analysis.budgets.check import Check, Limit
from fakerun.analysis.budgets.judged_run import JudgedRun
from fakerun.analysis.links import NodeOfRank
from fakerun.call_site import CallSite
from fakerun.job.budgets import CommunicationBudget, VolumeKey
from fakerun.records.collective import CollectiveRecord
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.units import format_bytes, join_words, name_ranks

_GROUPS_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What ranks communicate in the step in which they do so most; where they do most of it."""

    ranks: tuple[int, ...]
    amount: int
    step: int
    call_site: CallSite | None


def communication_checks(judged: JudgedRun) -> Iterator[Check]:
    """One for each budget of communication: of the rank with the most."""
    if judged.budgets.communication:
        by_step = _calls_by_step(judged)
        for budget in judged.budgets.communication:
            yield _check(judged, budget, by_step)


def _check(judged: JudgedRun, budget: CommunicationBudget, ranks: "list[_RankCalls]") -> Check:
    limit = Limit(name=budget.name, text=_text(budget.key, budget.most), source=budget.source)
    if (unknown := _unknown_group(judged, budget)) is not None:
        return limit.unverified("", "", [unknown])
    found = [step for rank in ranks if (step := rank.largest_step(budget)) is not None]
    worst = max(found, key=lambda each: each.amount, default=None)
    if worst is not None and worst.amount > budget.most:
        over = [each for each in found if each.amount > budget.most]
        return limit.exceeded(name_ranks(worst.ranks), _text(budget.key, worst.amount), _over(budget, limit, worst, over))
    reasons = list(judged.not_known(judged.every_rank))
    if stepless := {rank for each in ranks if not each.steps for rank in each.ranks}:
        reasons.append(f"{name_ranks(stepless)} completed no step")
    subject, measured = ("", "") if worst is None else (name_ranks(worst.ranks), _text(budget.key, worst.amount))
    return limit.unverified(subject, measured, reasons) if reasons else limit.kept(subject, measured)


def _over(budget: CommunicationBudget, limit: Limit, worst: _Step, over: Iterable[_Step]) -> Finding:
    where = f" over {budget.group}" if budget.group else f" by {budget.op}" if budget.op else " between nodes" * budget.is_inter_node
    subject = name_ranks(worst.ranks)
    return Finding(
        code=FindingCode.OVER_BUDGET,
        message=(
            f"{subject} {'has' if len(worst.ranks) == 1 else 'have'} {_text(budget.key, worst.amount)}{where} in step {worst.step}, "
            f"{_text(budget.key, worst.amount - budget.most)} above the limit: {limit}"
        ),
        ranks=tuple(sorted({rank for each in over for rank in each.ranks})),
        call_site=worst.call_site,
        hint=None if worst.call_site is None else f"Most of it is issued at {worst.call_site}.",
    )


def _text(key: VolumeKey, amount: int) -> str:
    if key is VolumeKey.CALLS:
        return f"{amount} call{'s' * (amount != 1)}"
    return format_bytes(amount)


def _unknown_group(judged: JudgedRun, budget: CommunicationBudget) -> str | None:
    """Why the group of a budget is none of this run: neither an axis of the mesh nor a group that a rank uses."""
    if budget.group is None or (judged.mesh is not None and budget.group in judged.mesh.axes):
        return None
    known = sorted({call.group for record in judged.run.ranks for call in record.collectives if call.group} | set(_axes(judged)))
    if budget.group in known:
        return None
    shown = join_words(known[:_GROUPS_SHOWN]) if known else "none"
    return f"the run has no group {budget.group}; its groups are {shown}" if known else f"the run has no group {budget.group}"


def _axes(judged: JudgedRun) -> tuple[str, ...]:
    return () if judged.mesh is None else judged.mesh.axes


@dataclass(frozen=True, slots=True, kw_only=True)
class _RankCalls:
    """The calls of ranks that issue the same, in the steps that count. `node` tells which of them leave the node."""

    ranks: tuple[int, ...]
    node: NodeOfRank
    steps: tuple[tuple[int, tuple[CollectiveRecord, ...]], ...]

    def largest_step(self, budget: CommunicationBudget) -> _Step | None:
        """The step with the most of what the budget limits; None if none was completed."""
        found = [_Step(ranks=self.ranks, amount=0, step=step, call_site=None) for step, _ in self.steps[:1]]
        for step, calls in self.steps:
            amounts: Counter[CallSite | None] = Counter()
            for call in calls:
                if _is_limited(budget, call):
                    amounts[call.call_site] += self._amount(budget, call)
            if amounts:
                found.append(_Step(ranks=self.ranks, amount=amounts.total(), step=step, call_site=amounts.most_common(1)[0][0]))
        return max(found, key=lambda each: each.amount, default=None)

    def _amount(self, budget: CommunicationBudget, call: CollectiveRecord) -> int:
        if budget.is_inter_node:
            crossing = self.node.inter_node_bytes(call)
            return int(crossing > 0) if budget.key is VolumeKey.CALLS else crossing
        return {VolumeKey.BYTES: call.nbytes, VolumeKey.BUS_BYTES: call.bus_bytes, VolumeKey.CALLS: 1}[budget.key]


def _is_limited(budget: CommunicationBudget, call: CollectiveRecord) -> bool:
    return budget.group in (None, call.group) and budget.op in (None, call.op)


def _calls_by_step(judged: JudgedRun) -> list[_RankCalls]:
    """Of all ranks; one alone stands for those that are assumed to match it, unless some of its peers may be on other nodes."""
    is_one_node = judged.job.nnodes == 1
    represented = {each.representative: each.ranks for each in judged.run.assumed} if is_one_node else {}
    return [
        _RankCalls(
            ranks=tuple(sorted((record.rank, *represented.get(record.rank, ())))),
            node=NodeOfRank(rank=record.rank, ranks_per_node=judged.job.nproc_per_node),
            steps=tuple(_counted_steps(record)),
        )
        for record in (judged.run.ranks if is_one_node else judged.records)
    ]


def _counted_steps(record: RankRecord) -> Iterator[tuple[int, tuple[CollectiveRecord, ...]]]:
    calls: dict[int, list[CollectiveRecord]] = {step: [] for step in range(1 if record.steps > 1 else 0, record.steps)}
    for call in record.collectives:
        if call.step in calls:
            calls[call.step].append(call)
    return ((step, tuple(of_step)) for step, of_step in calls.items())
