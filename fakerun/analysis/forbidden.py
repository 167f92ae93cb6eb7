"""Operations that were issued although the job forbids them (`--error-on-collective`)."""

from collections.abc import Collection, Iterable, Iterator

from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.units import format_bytes


def forbidden_findings(ranks: Iterable[RankRecord], forbidden: Collection[CollectiveOp]) -> Iterator[Finding]:
    """One `forbidden-collective` for each rank that issued a forbidden operation; it describes the first."""
    for rank in ranks:
        issued = [call for call in rank.collectives if call.op in forbidden]
        if issued:
            yield Finding(
                code=FindingCode.FORBIDDEN_COLLECTIVE,
                message=f"{_described(issued[0])} is forbidden by --error-on-collective{_others(len(issued) - 1)}",
                ranks=(rank.rank,),
                call_site=issued[0].call_site,
                hint=None if issued[0].module is None else f"It was issued in module {issued[0].module}.",
            )


def _others(count: int) -> str:
    return f", and {count} call{'s' * (count > 1)} after it {'are' if count > 1 else 'is'}" if count else ""


def _described(call: CollectiveRecord) -> str:
    what = f"{call.op} of {format_bytes(call.nbytes)} {call.dtype}" if call.dtype else str(call.op)
    return f"{what} over {call.group} ({call.group_size} ranks) in step {call.step}, {call.phase},"
