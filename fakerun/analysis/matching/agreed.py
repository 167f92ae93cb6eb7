"""Where the members of a group agree so far: sizes that are wrong all the same, and one position reached from different lines.

What is wrong in one way on the same lines is told once, of all ranks and groups that it is so in.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fakerun.analysis.matching.cast import Cast, Family
from fakerun.analysis.matching.signature import Counts
from fakerun.analysis.matching.traces import Stream
from fakerun.analysis.matching.words import at, call, on, who
from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding

_SIZES_HINT = "Bring the tensors to the sizes that the operation asks for."
_SPLITS_HINT = "Exchange the counts first (an all_to_all_single of the split sizes), and use what arrives as output splits."
_LINES_HINT = "It matches here; a change to one of the branches alone would make the job hang."


@dataclass(frozen=True, slots=True)
class _Member:
    rank: int
    place: int
    stream: Stream


class Agreed:
    """Collects what is to be said of groups, one after the other."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._findings: dict[Hashable, Finding] = {}

    def findings(self) -> Iterator[Finding]:
        yield from self._findings.values()

    def look_at(self, family: Family, end: int | None) -> None:
        """Look at the calls of a group before position `end`, where its members part; at all if they do not."""
        members = [_Member(rank, family.group.places[rank], view.collectives) for rank, view in family.members()]
        end = end if end is not None else min(len(member.stream.calls) for member in members)
        if any(member.stream.to_check for member in members):
            self._laws(family, members, end)
            self._tables(family, members, end)
        if len({member.stream.lines for member in members}) > 1:
            self._lines(family, members, end)

    def _tell(self, key: Hashable, finding: Finding) -> None:
        told = self._findings.get(key)
        self._findings[key] = finding if told is None else replace(told, ranks=tuple(sorted({*told.ranks, *finding.ranks})))

    def _everywhere(self, family: Family, members: Sequence[_Member]) -> tuple[int, ...]:
        return tuple(sorted({group.ranks[member.place] for group in family.groups for member in members}))

    def _laws(self, family: Family, members: Sequence[_Member], end: int) -> None:
        for stream, those in _by_stream(members).items():
            for position, kind in enumerate(stream.kinds[:end]):
                if kind.law is None:
                    continue
                record = self._cast.record(those[0].rank, stream.calls[position])
                ranks = self._everywhere(family, those)
                where = on(record, position)
                finding = _error(FindingCode.SIZE_MISMATCH, f"{where}: {call(record)}: {kind.law}.", ranks, record.call_site, _SIZES_HINT)
                self._tell((record.call_site, record.op, kind.law), finding)

    def _tables(self, family: Family, members: Sequence[_Member], end: int) -> None:
        """All-to-all: what one says it sends is what the other says it receives."""
        for position in range(end):
            tables = {member.place: table for member in members if (table := member.stream.kinds[position].table) is not None}
            wrong = _wrong_pair(tables)
            if wrong is not None:
                by_place = {member.place: member for member in members}
                self._wrong_splits(family, by_place[wrong[0]], by_place[wrong[1]], position)

    def _wrong_splits(self, family: Family, sender: _Member, receiver: _Member, position: int) -> None:
        send, receive = (self._cast.record(member.rank, member.stream.calls[position]) for member in (sender, receiver))
        tables = sender.stream.kinds[position].table, receiver.stream.kinds[position].table
        assert tables[0] is not None
        assert tables[1] is not None
        gives, takes = tables[0][0][receiver.place], tables[1][1][sender.place]
        sites = f"{at(send)} and{at(receive)}" if send.call_site != receive.call_site else at(send)
        where = f"{on(send, position)}{sites}"
        message = f"rank {sender.rank} sends {gives} elements to rank {receiver.rank}, which expects {takes}, in {where}."
        finding = _error(FindingCode.SPLITS_MISMATCH, message, self._everywhere(family, (sender, receiver)), send.call_site, _SPLITS_HINT)
        self._tell(("splits", send.call_site, receive.call_site), finding)

    def _lines(self, family: Family, members: Sequence[_Member], end: int) -> None:
        by_stream = _by_stream(members)
        calls = [those[0].stream for those in by_stream.values()]
        seats = [self._cast.seats[those[0].rank].trace.schedule.calls for those in by_stream.values()]
        told: set[frozenset[CallSite | None]] = set()
        for position in range(end):
            sites = frozenset(seat[stream.calls[position]].call_site for seat, stream in zip(seats, calls, strict=True))
            if len(sites) > 1 and sites not in told:
                told.add(sites)
                self._different_lines(family, by_stream, sites, position)

    def _different_lines(
        self, family: Family, by_stream: Mapping[Stream, Sequence[_Member]], sites: frozenset[CallSite | None], position: int
    ) -> None:
        by_site: dict[CallSite | None, list[_Member]] = defaultdict(list)
        for stream, members in by_stream.items():
            site = self._cast.record(members[0].rank, stream.calls[position]).call_site
            by_site[site].extend(members)
        ordered = sorted(by_site.items(), key=lambda item: (-len(item[1]), item[1][0].rank))
        (_, usual), (odd_site, odd) = ordered[0], ordered[1]
        where = "; ".join(f"{who(member.rank for member in members)} at {site}" for site, members in ordered)
        record = self._cast.record(usual[0].rank, usual[0].stream.calls[position])
        finding = Finding(
            code=FindingCode.CALL_SITE_MISMATCH,
            message=f"{on(record, position)} is reached from different lines: {where}.",
            ranks=self._everywhere(family, odd),
            call_site=odd_site,
            hint=_LINES_HINT,
        )
        self._tell(sites, finding)


def _by_stream(members: Sequence[_Member]) -> Mapping[Stream, list[_Member]]:
    streams: dict[Stream, list[_Member]] = defaultdict(list)
    for member in members:
        streams[member.stream].append(member)
    return streams


def _wrong_pair(tables: Mapping[int, tuple[Counts, Counts]]) -> tuple[int, int] | None:
    """The places of a sender and a receiver whose tables contradict each other."""
    distinct = {id(table): table for table in tables.values()}
    if all(table[0] == table[1] and len(set(table[0])) == 1 for table in distinct.values()) and len(distinct) == 1:
        return None
    last = max(tables, default=-1)
    places = [place for place, table in sorted(tables.items()) if min(map(len, table)) > last]
    columns = list(zip(*(tables[place][0] for place in places), strict=False))
    for receiver in places:
        received = tables[receiver][1]
        for sender, given in zip(places, columns[receiver], strict=True):
            if given != received[sender]:
                return sender, receiver
    return None


def _error(code: FindingCode, message: str, ranks: tuple[int, ...], call_site: CallSite | None, hint: str) -> Finding:
    return Finding(code=code, message=message, ranks=ranks, call_site=call_site, hint=hint)
