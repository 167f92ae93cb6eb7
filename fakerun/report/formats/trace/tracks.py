"""The tracks of a rank: a process with a thread for its host, one for each stream, and one for each communicator.

Processes and threads have numbers that no other rank and no other thread of the rank has, so that files of several ranks can be opened
together. HolisticTraceAnalysis takes process 0 and thread 0 for a GPU, and streams below 1 for the host.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fakerun.report.formats.trace import event
from fakerun.report.model import RankTimeline

_FIRST_PROCESS = 100_000
_DEFAULT_STREAM = 7
"""The number of a default stream in Kineto's traces; those of other devices of the rank follow it."""
_FIRST_OTHER_STREAM = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """`streams` has the thread of each stream of the program, `communicators` that of each communicator, by their numbers.

    `devices` has the CUDA index of each stream's device, `cuda_index` is that of the rank's first one.
    """

    process: int
    streams: tuple[int, ...]
    communicators: dict[int, int]
    devices: tuple[int, ...]
    cuda_index: int
    names: dict[int, str]
    """What each thread is called."""

    @property
    def host(self) -> int:
        return self.process

    def named(self, title: str) -> Iterator[str]:
        """The process is called `title`; its host comes first, then the streams, then the communicators."""
        yield event.about("process_name", self.process, 0, {"name": title})
        yield event.about("process_labels", self.process, 0, {"labels": f"GPU {self.cuda_index}"})
        yield event.about("process_sort_index", self.process, 0, {"sort_index": self.process})
        for position, (thread, name) in enumerate(self.names.items()):
            yield event.about("thread_name", self.process, thread, {"name": name})
            yield event.about("thread_sort_index", self.process, thread, {"sort_index": position})


def tracks_of(rank: RankTimeline) -> Tracks:
    """The tracks of those streams and communicators on which something runs in the step."""
    process = _FIRST_PROCESS + rank.representative
    record = rank.record
    used = {*rank.operations.streams, *rank.calls.streams}
    defaults, others = iter(range(_DEFAULT_STREAM, _FIRST_OTHER_STREAM)), iter(range(_FIRST_OTHER_STREAM, _FIRST_PROCESS))
    names = {process: "host"}
    streams = []
    for number, stream in enumerate(rank.program.streams):
        thread = next(defaults if stream.index is None else others)
        streams.append(thread)
        if number in used:
            names[thread] = f"stream {thread}" + (" (default)" if stream.index is None else "")
    communicators = {}
    for number, seq in zip(rank.calls.communicators, rank.calls.seqs, strict=True):
        if number not in communicators:
            thread = communicators[number] = next(others)
            names[thread] = f"stream {thread} (NCCL {record.collectives[seq].group or 'unnamed'})"
    devices = tuple(record.devices[stream.device] for stream in rank.program.streams)
    return Tracks(
        process=process,
        streams=tuple(streams) or (_DEFAULT_STREAM,),
        communicators=communicators,
        devices=devices or (0,),
        cuda_index=record.devices[0] if record.devices else 0,
        names=names,
    )
