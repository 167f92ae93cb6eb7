"""How far a prediction may be from what a GPU counted: every counter of `torch.cuda.memory_stats`, and the segments at the end.

The tolerances are what 66 programs on an H100 and 55 on an H200 stayed within on 2026-11-28, rounded up. They do not say how good a
prediction is, but that it is as good as it was then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from dev.gpu.reduced_programs import SegmentKind, counters_of, segments_of

if TYPE_CHECKING:
    from collections import Counter

KIB, MIB = 2**10, 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Counters may be off by the larger of a share of what was measured and an amount, which has the counter's unit."""

    counters: tuple[str, ...]
    """Patterns of names."""
    what: str
    share: float
    amount: int
    why: str

    def allowed(self, measured: int) -> int:
        return max(self.amount, int(self.share * measured))


TOLERANCES = (
    Tolerance(
        counters=("num_alloc_retries", "num_ooms", "num_device_free", "num_sync_all_streams", "max_split_size", "oversize_*"),
        what="retries, out of memory, frees to the driver, oversize",
        share=0,
        amount=0,
        why="none was ever off",
    ),
    Tolerance(counters=("reserved_bytes.*",), what="reserved bytes", share=0.001, amount=4 * MIB, why="two segments of small blocks"),
    Tolerance(counters=("segment.*", "num_device_alloc"), what="segments", share=0, amount=2, why="two segments of small blocks"),
    Tolerance(
        counters=("inactive_split_bytes.*.peak", "inactive_split_bytes.*.current"),
        what="bytes of free parts of segments, at the peak and at the end",
        share=0.35,
        amount=2 * MIB,
        why="which free block is split depends on when each free completes; the two cards differ by as much",
    ),
    Tolerance(
        counters=("inactive_split.*.peak", "inactive_split.*.current"),
        what="free parts of segments, at the peak and at the end",
        share=0.15,
        amount=20,
        why="the same",
    ),
    Tolerance(
        counters=("inactive_split*.allocated", "inactive_split*.freed"),
        what="free parts of segments, all that ever were",
        share=0.4,
        amount=0,
        why="the same, and small blocks",
    ),
    Tolerance(
        counters=("*_bytes.*.peak", "*_bytes.*.current"),
        what="allocated, active and requested bytes, at the peak and at the end",
        share=0.0001,
        amount=64 * KIB,
        why="small blocks",
    ),
    Tolerance(
        counters=("allocation.*.peak", "allocation.*.current", "active.*.peak", "active.*.current"),
        what="blocks, at the peak and at the end",
        share=0.01,
        amount=64,
        why="small blocks: scalars that the host makes or copies",
    ),
    Tolerance(
        counters=("*_bytes.*.allocated", "*_bytes.*.freed"),
        what="allocated, active and requested bytes, all that ever were",
        share=0.005,
        amount=2 * MIB,
        why="temporary results of kernels that do not reach a peak",
    ),
    Tolerance(
        counters=("allocation.*.allocated", "allocation.*.freed", "active.*.allocated", "active.*.freed"),
        what="blocks, all that ever were",
        share=0.1,
        amount=0,
        why="small blocks",
    ),
)
"""The first that a counter's name matches."""

SMALL_SEGMENTS = 2
"""So many segments of small blocks may be too many or too few; those of large blocks must be the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDifference:
    """Counters of programs that are off by more than their tolerance, and why. They are said, and fail nothing."""

    programs: tuple[str, ...]
    counters: tuple[str, ...]
    why: str

    def has(self, program: str, counter: str) -> bool:
        return any(fnmatchcase(program, name) for name in self.programs) and any(fnmatchcase(counter, name) for name in self.counters)


KNOWN = (
    KnownDifference(
        programs=("kind-ddp*", "kind-zero-redundancy-optimizer"),
        counters=("*.current", "*.freed"),
        why="what DDP holds when its script has ended is freed before the count on a GPU, and after it here",
    ),
    KnownDifference(
        programs=("fsdp-1b-float32", "kind-moe-fixed-capacity"),
        counters=("*.all.allocated", "*.all.freed", "*.large_pool.allocated", "*.large_pool.freed"),
        why="temporary results that are allocated here and not on a GPU, below the peak",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A counter, or a kind of segments, that is off by more than may be; `known` says why if that is no news."""

    counter: str
    measured: int
    predicted: int | None
    allowed: int
    known: str | None = None

    def __str__(self) -> str:
        text = f"{self.counter}: measured {self.measured:,}, predicted {'nothing' if self.predicted is None else f'{self.predicted:,}'}"
        return f"{text}, may be off by {self.allowed:,}" + (f" (known: {self.known})" if self.known else "")


def differences(name: str, measured: Mapping[str, Any], predicted: Mapping[str, Any]) -> Iterator[Difference]:
    """What of a program is off by more than its tolerance.

    Raises:
        KeyError: a counter has no tolerance.
    """
    ours = counters_of(predicted)
    for counter, real in counters_of(measured).items():
        allowed, said = tolerance_of(counter).allowed(real), ours.get(counter)
        if said is None or abs(said - real) > allowed:
            yield Difference(counter=counter, measured=real, predicted=said, allowed=allowed, known=known(name, counter))
    yield from _segment_differences(segments_of(measured), segments_of(predicted))


def tolerance_of(counter: str) -> Tolerance:
    for tolerance in TOLERANCES:
        if any(fnmatchcase(counter, pattern) for pattern in tolerance.counters):
            return tolerance
    raise KeyError(f"{counter} has no tolerance")


def known(program: str, counter: str) -> str | None:
    return next((each.why for each in KNOWN if each.has(program, counter)), None)


def _segment_differences(measured: "Counter[SegmentKind]", predicted: "Counter[SegmentKind]") -> Iterator[Difference]:
    for kind in sorted(measured.keys() | predicted.keys()):
        allowed = SMALL_SEGMENTS if kind.segment_type == "small" else 0
        if abs(measured[kind] - predicted[kind]) > allowed:
            yield Difference(counter=f"segments, {_text(kind)}", measured=measured[kind], predicted=predicted[kind], allowed=allowed)


def _text(kind: SegmentKind) -> str:
    stream = "the default stream" if kind.on_default_stream else "other streams"
    return " ".join(
        (
            f"{kind.nbytes / MIB:,.0f} MiB for {kind.segment_type} blocks of {stream}",
            *(["expandable"] if kind.is_expandable else []),
            *(["in a private pool"] if kind.in_private_pool else []),
        )
    )
