"""Player: one step of a run, played as it was recorded, or with calls of some groups that take no time."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fakerun.analysis.time.host_times import HostTimes
from fakerun.analysis.time.timeline.contention import contention_factors
from fakerun.analysis.time.timeline.measured import MeasuredRank, moved
from fakerun.analysis.time.timeline.parts import CallPrices, OperationPrices, Part, Parts, skipped_calls
from fakerun.analysis.time.timeline.play import AnyRankPlay, Play, RankPlay
from fakerun.analysis.time.timeline.played_classes import PlayedClass, PlayedClasses, played_classes
from fakerun.analysis.time.timeline.spans import HOST, CallSpans, NoTimeline, RankTimeline, Timeline
from fakerun.records.run import RankRecord
from fakerun.units import name_ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What operations and calls cost on a card with so many multiprocessors, with so many ranks to a node."""

    operations: OperationPrices
    calls: CallPrices
    host: HostTimes
    multiprocessors: int
    ranks_per_node: int


def player_of(simulated: Sequence[RankRecord], assumed: Iterable[RankRecord], prices: Prices) -> "Player | NoTimeline":
    """Plays the last step that all ranks of a run completed, or says why there is none.

    `simulated` and `assumed` are records of all ranks of which anything is known; other members of groups are taken to arrive in time.
    """
    reason = _reason_against(simulated)
    if reason is not None:
        return NoTimeline(reason)
    step = min(len(record.program.step_ends) for record in simulated) - 1
    classes = played_classes(simulated, assumed, prices.ranks_per_node)
    for label, absent in classes.absent.items():
        verb = f"do{'es' * (len(absent) == 1)}"
        return NoTimeline(f"{name_ranks(absent)} {verb} not issue collectives of group {label} that others wait in")
    parts = Parts(classes, step, prices.operations, prices.calls, prices.multiprocessors, prices.host)
    player = Player(classes, parts, step, prices.host)
    stuck = player.stuck
    return NoTimeline(f"{name_ranks(stuck)} wait{'s' * (len(stuck) == 1)} for calls that others do not issue") if stuck else player


def _reason_against(records: Sequence[RankRecord]) -> str | None:
    """Why a run has no step time, from its records."""
    failed = [record for record in records if record.failure is not None]
    if failed:
        return f"{name_ranks(record.rank for record in failed)} failed"
    if blocked := [record.rank for record in records if record.blocked is not None]:
        return f"{name_ranks(blocked)} never get{'s' * (len(blocked) == 1)} out of a call"
    if unfinished := [record.rank for record in records if not record.program.step_ends]:
        return f"{name_ranks(unfinished)} completed no training step"
    return None if records else "no rank was simulated"


class Player:
    """Plays a step of the classes. The first play, without contention, says where operations and communication overlap."""

    def __init__(self, classes: PlayedClasses, parts: Parts, step: int, times: HostTimes) -> None:
        self._classes = classes.classes
        self._unknown_members = classes.unknown_members
        self._joins_programs = classes.joins_programs
        self._prices = parts
        self._parts: Sequence[Part] = [parts.of(each) for each in classes.classes]
        self._members = skipped_calls(classes, self._parts)
        self._step = step
        self._times = times
        self._first = self._played()
        self._has_contention = any(rank.transfers for rank in self._first.ranks)

    @property
    def stuck(self) -> Sequence[int]:
        """The ranks that do not come to the end of the step."""
        ended = (self._step in rank.marks and rank.marks[self._step].is_reached for rank in self._first.ranks)
        return [rank for each, has_ended in zip(self._classes, ended, strict=True) if not has_ended for rank in each.ranks]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the groups whose calls are played."""
        return tuple(sorted({block.label for part in self._parts for block in part.blocks}))

    def timeline(self) -> Timeline:
        """When everything ran."""
        play = self._measured
        zero = min(rank.marks[self._step - 1].last()[0] for rank in play.ranks)
        ranks = [self._rank_timeline(each, play.ranks, zero) for each in self._classes]
        return Timeline(
            step=self._step,
            is_first_step=self._step == 0,
            ranks=tuple(sorted(ranks, key=lambda each: each.representative)),
            unknown_members=self._unknown_members,
            joins_programs=self._joins_programs,
        )

    def gain_s(self, label: str) -> float:
        """How much shorter the step is if calls of groups with this label take no time."""
        return self._measured_seconds - self._step_seconds(self._played(self._factors(label), label))

    @cached_property
    def _measured_seconds(self) -> float:
        return self._step_seconds(self._measured)

    @cached_property
    def _measured(self) -> Play[MeasuredRank]:
        play = Play(MeasuredRank, self._parts, self._members, self._times, factors=self._factors())
        play.run()
        return play

    def _played(self, factors: Sequence[Sequence[float]] | None = None, free_label: str | None = None) -> Play[RankPlay]:
        play = Play(RankPlay, self._parts, self._members, self._times, factors=factors, free_label=free_label)
        play.run()
        return play

    def _factors(self, free_label: str | None = None) -> Sequence[Sequence[float]] | None:
        """By class and run how much longer it takes beside communication; None if nothing does."""
        if not self._has_contention:
            return None
        return [contention_factors(rank.windows, rank.transfers, free_label) for rank in self._first.ranks]

    def _step_seconds(self, play: Play[AnyRankPlay]) -> float:
        return max(map(self._rank_seconds, play.ranks))

    def _rank_seconds(self, rank: RankPlay) -> float:
        return rank.marks[self._step].last()[0] - rank.marks[self._step - 1].last()[0]

    def _rank_timeline(self, each: PlayedClass, ranks: Sequence[MeasuredRank], zero: float) -> RankTimeline:
        rank, record = ranks[each.number], each.view.record
        begin, end = rank.marks[self._step - 1], rank.marks[self._step]
        end_s, cause = end.last()
        return RankTimeline(
            record=record,
            representative=each.representative,
            ranks=each.ranks,
            begin_s=begin.last()[0] - zero,
            end_s=end_s - zero,
            host_begin_s=begin.host - zero,
            host_end_s=end.host - zero,
            last=cause,
            costs=self._prices.costs_of(record.program),
            operations=rank.operation_spans(zero),
            calls=self._call_spans(each, ranks, zero),
            waits=rank.host_waits(zero),
        )

    def _call_spans(self, each: PlayedClass, ranks: Sequence[MeasuredRank], zero: float) -> CallSpans:
        rank = ranks[each.number]
        indices = [index for index, call in enumerate(each.view.schedule.calls) if call.device is not None]
        measured = rank.part.program.measured_calls
        seqs = indices[measured.start : measured.stop]
        costs = self._prices.call_costs(each)
        issued, arrived, starts, ends = (moved(times, zero) for times in rank.call_times)
        last = zip(rank.last_classes, rank.last_calls, strict=True)
        return CallSpans(
            seqs=array("i", seqs),
            issued=issued,
            arrived=arrived,
            starts=starts,
            ends=ends,
            communicators=rank.call_communicators,
            firsts=rank.call_firsts,
            streams=rank.call_streams,
            causes=rank.call_causes,
            last_ranks=array("i", [self._classes[number].representative for number in rank.last_classes]),
            last_calls=array("i", [_or_host(ranks[number].number_in_step(call)) for number, call in last]),
            costs=[costs.of((seq,)) for seq in seqs],
        )


def _or_host(number: int | None) -> int:
    return HOST if number is None else number
