"""Collectives of one group, position by position, on all members: the first position where they part, and how.

The reference is what most members do, never a particular rank. Behind the first difference nothing is compared: it would be consequences.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from fakerun.analysis.matching.signature import Signature, first_difference, own_law, sent_and_received, signature_of
from fakerun.analysis.matching.streams import Group, Stream
from fakerun.analysis.matching.words import at, call, on, who
from fakerun.records.collective import CollectiveRecord
from fakerun.records.finding import Finding, Severity

_AHEAD = 3
"""How many calls must agree again for one to count as missing or extra."""

_HINTS = {
    "operation": "Let every rank of the group make the same calls in the same order: look for a branch that depends on rank or data.",
    "root": "Every rank must name the same root, as a global rank.",
    "reduce-op": "Every rank must reduce with the same operation.",
    "dtype": "Bring the tensor to one dtype on every rank before the call.",
    "size": "Bring the tensor to one size on every rank, pad it, or exchange the sizes first.",
}

Signatures = Mapping[int, Sequence[Signature]]


def collective_findings(group: Group, streams: Mapping[int, Stream], ended: Mapping[int, str]) -> Iterator[Finding]:
    """What is wrong with the collectives of a group. `ended` says of ranks that stopped before their time what became of them."""
    if len(streams) < 2:
        return
    signatures = {rank: [signature_of(record) for record in stream] for rank, stream in streams.items()}
    position = _first_difference(signatures)
    end = position if position is not None else min(map(len, streams.values()))
    yield from _within(group, streams, end)
    if position is not None:
        yield _difference(group, streams, signatures, position, ended)


def _first_difference(signatures: Signatures) -> int | None:
    first, *others = signatures.values()
    found = [position for other in others if (position := _parting(first, other)) is not None]
    return min(found, default=None)


def _parting(one: Sequence[Signature], other: Sequence[Signature]) -> int | None:
    if one == other:
        return None
    shorter = min(len(one), len(other))
    return next((position for position in range(shorter) if one[position] != other[position]), shorter)


# -- the first difference ----------------------------------------------------------------------------------------------------------------


def _difference(group: Group, streams: Mapping[int, Stream], signatures: Signatures, position: int, ended: Mapping[int, str]) -> Finding:
    here: dict[Signature | None, list[int]] = defaultdict(list)
    for rank, signature in signatures.items():
        here[signature[position] if position < len(signature) else None].append(rank)
    usual = max((each for each in here if each is not None), key=lambda each: (len(here[each]), -min(here[each])))
    odd = max((each for each in here if each != usual), key=lambda each: (each is not None, -len(here[each])))
    usual_rank, odd_rank = here[usual][0], here[odd][0]
    expected = streams[usual_rank][position]
    found = streams[odd_rank][position] if odd is not None else None
    code, what, hint = _diagnosis(signatures[usual_rank], signatures[odd_rank], position, ended.get(odd_rank))
    others = f"{who(here[usual])}: {call(expected)}"
    own = f"{who(here[odd])}: {call(found) if found is not None else 'no further call'}"
    return Finding(
        code=code,
        severity=Severity.ERROR,
        message=f"{what.format(who=who(here[odd]), place=on(group, expected, position))}. {own}; {others}.",
        ranks=tuple(sorted(here[odd])),
        call_site=(found or expected).call_site,
        hint=hint,
    )


def _diagnosis(usual: Sequence[Signature], odd: Sequence[Signature], position: int, end: str | None) -> tuple[str, str, str]:
    """Code, statement and hint for the way in which one stream leaves the other."""
    if position >= len(odd):
        if end is not None:
            return (
                "rank-ended-early",
                f"{{who}} {end}: at {{place}} the others wait for ever",
                "Mend what ended the rank; the rest follows from it.",
            )
        return "missing-collective", "{who} never makes {place}", _HINTS["operation"]
    if _goes_on(usual, odd, position + 1, position):
        return "missing-collective", "{who} leaves out {place}", _HINTS["operation"]
    if _goes_on(usual, odd, position, position + 1):
        return "extra-collective", "{who} makes a call of its own before {place}", _HINTS["operation"]
    if (
        usual[position + 1 : position + 2] == odd[position : position + 1]
        and odd[position + 1 : position + 2] == usual[position : position + 1]
    ):
        return "swapped-collectives", "{who} makes {place} and the next in the other order", _HINTS["operation"]
    kind = first_difference(usual[position], odd[position])
    return f"{kind}-mismatch", f"{{who}} differs in {kind} at {{place}}", _HINTS[kind]


def _goes_on(usual: Sequence[Signature], odd: Sequence[Signature], there: int, here: int) -> bool:
    """Whether the streams agree again from those positions on, and not by sharing nothing but an end."""
    ahead, behind = usual[there : there + _AHEAD], odd[here : here + _AHEAD]
    return bool(ahead) and ahead == behind


# -- where all agree so far --------------------------------------------------------------------------------------------------------------


def _within(group: Group, streams: Mapping[int, Stream], end: int) -> Iterator[Finding]:
    """Sizes that are wrong although the signatures agree, and one position reached from different lines."""
    told: set[frozenset[str | None]] = set()
    for position in range(end):
        calls = {rank: stream[position] for rank, stream in streams.items()}
        for rank, record in calls.items():
            if (wrong := own_law(record)) is not None:
                yield _error("size-mismatch", f"{who([rank])}: {call(record)}: {wrong}.", [rank], record, _HINTS["size"])
        yield from _tables(group, calls, position)
        sites = frozenset(record.call_site for record in calls.values())
        if len(sites) > 1 and sites not in told:
            told.add(sites)
            yield _different_lines(group, calls, position)


def _tables(group: Group, calls: Mapping[int, CollectiveRecord], position: int) -> Iterator[Finding]:
    """All-to-all: what one says it sends is what the other says it receives."""
    tables = {rank: table for rank, record in calls.items() if (table := sent_and_received(record)) is not None}
    index = {rank: i for i, rank in enumerate(group.ranks)}
    for sender, (sent, _) in tables.items():
        for receiver, (_, received) in tables.items():
            gives, takes = sent[index[receiver]], received[index[sender]]
            if gives != takes:
                where = f"{on(group, calls[sender], position)}{at(calls[sender])} and{at(calls[receiver])}"
                message = f"rank {sender} sends {gives} elements to rank {receiver}, which expects {takes}, in {where}."
                hint = "Exchange the counts first (an all_to_all_single of the split sizes), and use what arrives as output splits."
                yield _error("splits-mismatch", message, [sender, receiver], calls[sender], hint)
                return


def _different_lines(group: Group, calls: Mapping[int, CollectiveRecord], position: int) -> Finding:
    by_site: dict[str | None, list[int]] = defaultdict(list)
    for rank, record in calls.items():
        by_site[record.call_site].append(rank)
    ordered = sorted(by_site.items(), key=lambda item: -len(item[1]))
    (_, usual_ranks), (odd_site, odd_ranks) = ordered[0], ordered[1]
    where = "; ".join(f"{who(ranks)} at {site}" for site, ranks in ordered)
    record = calls[usual_ranks[0]]
    return Finding(
        code="different-lines",
        severity=Severity.WARNING,
        message=f"{on(group, record, position)} is reached from different lines: {where}.",
        ranks=tuple(sorted(odd_ranks)),
        call_site=odd_site,
        hint="It matches here; a change to one of the branches alone would make the job hang.",
    )


def _error(code: str, message: str, ranks: Sequence[int], record: CollectiveRecord, hint: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, message=message, ranks=tuple(ranks), call_site=record.call_site, hint=hint)
